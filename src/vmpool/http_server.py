"""uvicorn as this server wants it: an own socket, told when it listens, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, cast

import anyio
import anyio.lowlevel
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vmpool.api.edge import headers_of_every_answer
from vmpool.api.errors import edge_problem, respond
from vmpool.api.observed import fresh_request_id
from vmpool.errors import InvalidRequest

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than clients keep theirs, so that they close first."""
BACKLOG = 1024
HEAD_BYTES = 128 << 10
"""Of a request's line and headers, or of its trailers, beyond the piece in which they begin."""
HELD_BYTES = 64 << 10
"""Of an answer, until they are written without waiting for more."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; InvalidRequest, naming the setting, where there can be none."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise InvalidRequest(
            "host", f"'{host}' is not an address of this machine: {error.strerror}"
        ) from error
    try:
        return socket.create_server((address[0], port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InvalidRequest(
            "port", f"cannot listen on {host} port {port}: {reason}; 0 takes a free port"
        ) from error


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    """Where the socket listens, as a URL."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class HTTPServer:
    """Serves one application on one socket until SIGINT or SIGTERM.

    tls: what connections are accepted with; None: plain HTTP.  trusted_proxies: addresses and networks whose
    X-Forwarded-For and X-Forwarded-Proto are believed.

    At the end it stops accepting, sets `closing`, gives requests in progress `drain` seconds and then
    cancels them.  A second signal cancels them at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        closing: anyio.Event,
        *,
        drain: float,
        tls: ssl.SSLContext | None = None,
        trusted_proxies: Sequence[str] = (),
    ) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # `vmpool.api.observed` writes it, with the ids
            server_header=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            ssl_context_factory=None if tls is None else lambda *_: tls,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(drain),
        )
        self._server = _Server(config, closing)

    async def run(self, listener: socket.socket, listening: Callable[[], Awaitable[None]]) -> None:
        """Serve; `listening` is called once requests are answered."""
        self._server.on_listening = listening
        await self._server.serve([listener])

    @property
    def hurried(self) -> bool:
        """A second signal came: who asked does not want to wait."""
        return self._server.force_exit

    def stop(self) -> None:
        """End it as a signal does."""
        self._server.should_exit = True


class _Protocol(HttpToolsProtocol):
    """Bounds what is gathered of a head, for which no key is asked; a body's bound is in `api.edge`."""

    _gathered = 0
    _moved = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answers go out through a transport that sends head and body as one piece."""
        gathering = _Gathering(cast("asyncio.Transport", transport))  # uvloop's have no base class
        super().connection_made(cast("asyncio.Transport", gathering))

    def data_received(self, data: bytes) -> None:
        """Hand a piece to the parser; one that ended no head and brought no body is being gathered."""
        self._moved = False
        super().data_received(data)
        if self._moved or self.transport.is_closing():
            return
        self._gathered += len(data)
        if self._gathered > HEAD_BYTES:
            self.send_400_response("The request's head is too large.")

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an answer like every other error, headers included."""
        request_id = fresh_request_id()
        problem = respond(edge_problem(400, msg, request_id))
        secure = self.transport.get_extra_info("sslcontext") is not None
        headers = [*problem.raw_headers, *headers_of_every_answer(request_id, secure=secure)]
        lines = [b"%b: %b\r\n" % header for header in [*headers, (b"connection", b"close")]]
        self.transport.write(
            b"".join([b"HTTP/1.1 400 Bad Request\r\n", *lines, b"\r\n", bytes(problem.body)])
        )
        self.transport.close()

    def on_message_begin(self) -> None:
        self._moved = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._moved, self._gathered = True, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved, self._gathered = True, 0
        super().on_body(body)


class _Gathering:
    """A transport that writes at the end of the event loop's turn: a system call and a wake-up of the client
    less for each answer."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > HELD_BYTES:  # the transport says when it has too much, and must be asked
            self._flush()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            with contextlib.suppress(RuntimeError):  # uvloop's, when the client went away since `write`
                self._transport.write(b"".join(self._held))
            self._held.clear()
            self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, closing: anyio.Event) -> None:
        super().__init__(config)
        self._closing = closing
        self.on_listening: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self.on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn raises the signal anew at the end, which would end us before anything is closed."""
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._asked_to_end) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _asked_to_end(self, number: int, frame: object) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
