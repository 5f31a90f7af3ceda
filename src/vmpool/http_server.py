"""uvicorn as this server wants it: an own socket, told when it listens, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import resource
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import anyio
import anyio.lowlevel
import httptools
import uvicorn
from starlette.types import ASGIApp
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from vmpool.api.edge import headers_of_every_answer
from vmpool.api.errors import edge_problem, respond
from vmpool.api.observed import fresh_request_id
from vmpool.api.ports.site import ShareSite
from vmpool.api.sockets import is_socket
from vmpool.errors import InvalidRequest
from vmpool.http_upgrade import UpgradingProtocol

KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than clients keep theirs, so that they close first."""
KEEP_ALIVE_PROBES = (
    ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 60),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 20),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 3),
)
"""Connections have these of the socket that accepts them: a client that vanished without a word is noticed
after two minutes, also by a stream on which nobody writes."""
BACKLOG = 1024
HEAD_BYTES = 128 << 10
"""Of a request's line and headers, or of its trailers, beyond the piece in which they begin."""
HEAD_SECONDS = 20.0
"""How long a request's head may take to arrive whole; for a connection's first one, from its beginning."""
HELD_BYTES = 64 << 10
"""Of an answer, until they are written without waiting for more."""
MESSAGE_BYTES = 1 << 20
"""Of one message on a WebSocket; a longer one closes it."""
OPEN_FILES = 65_536
"""What the soft limit of open files is raised to where the hard one allows; the unit asks for the same."""


def raise_open_files() -> int:
    """Raise this process's soft limit of open files, as 1024 connections would use up the usual one.

    The limit there is then.  Children inherit it; a VM's processes have limits of their own.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return max(soft, wanted)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; InvalidRequest, naming the setting, where there can be none."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise InvalidRequest(
            "host", f"'{host}' is not an address of this machine: {error.strerror}"
        ) from error
    try:
        listener = socket.create_server((address[0], port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InvalidRequest(
            "port", f"cannot listen on {host} port {port}: {reason}; 0 takes a free port"
        ) from error
    for option, value in KEEP_ALIVE_PROBES:
        listener.setsockopt(*option, value)
    return listener


def url_of(listener: socket.socket, *, tls: bool = False) -> str:
    """Where the socket listens, as a URL."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class HTTPServer:
    """Serves one application on one socket until SIGINT or SIGTERM.

    tls: what connections are accepted with; None: plain HTTP.  trusted_proxies: addresses and networks whose
    X-Forwarded-For and X-Forwarded-Proto are believed.  max_connections: open at once; new ones beyond it
    are closed.  share_site: hosts at which WebSockets are for servers in VMs, whatever their path.

    At the end it stops accepting, sets `closing`, gives requests in progress `drain` seconds and then
    cancels them.  A second signal cancels them at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        closing: anyio.Event,
        *,
        drain: float,
        max_connections: int,
        tls: ssl.SSLContext | None = None,
        trusted_proxies: Sequence[str] = (),
        share_site: ShareSite | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            # uvicorn calls it and asks no more of it
            http=cast(
                "type[asyncio.Protocol]",
                partial(_Protocol, max_connections=max_connections, share_site=share_site),
            ),
            ws=_Socket,
            ws_max_size=MESSAGE_BYTES,
            ws_per_message_deflate=False,  # output that compresses well would cost more here than on the way
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


class _Protocol(UpgradingProtocol):
    """Bounds what takes no key: the number of connections, and the bytes and time of a head.

    A body's bound is in `api.edge`.
    """

    _gathered = 0
    _moved = False
    _in_head = False
    _patience: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, max_connections: int, share_site: ShareSite | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_connections = max_connections
        self._share_site = share_site

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answers go out through a transport that sends head and body as one piece."""
        gathering = _Gathering(cast("asyncio.Transport", transport))  # uvloop's have no base class
        super().connection_made(cast("asyncio.Transport", gathering))
        if len(self.connections) > self._max_connections:
            self.transport.abort()
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._arrived()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _arrived(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        """Close a connection whose head did not come; one that is owed an answer gets it first."""
        self._patience = None
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if cycle is not None and not cycle.response_complete:
            self._wait_for_head()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Hand a piece to the parser; one that ended no head or body and brought none is being gathered."""
        if self.left_http:
            super().data_received(data)
            return
        self._moved = False
        super().data_received(data)
        if self._in_head or not self._moved:
            self._gather(data)

    def _gather(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._wait_for_head()
        if self._moved:
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

    def _should_upgrade(self) -> bool:
        """Whether it asks for a WebSocket where the API has some; others leave HTTP as routes have it."""
        if not super()._should_upgrade():
            return False
        host = next((value for name, value in self.headers if name == b"host"), b"")
        if self._share_site is not None and self._share_site.label(host) is not None:
            return False
        return is_socket(httptools.parse_url(self.url).path or b"")

    def on_message_begin(self) -> None:
        self._moved = self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._moved, self._in_head, self._gathered = True, False, 0
        if self._patience is not None:
            self._arrived()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._moved, self._gathered = True, 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._moved, self._gathered = True, 0
        if self._patience is not None:
            self._arrived()
        super().on_message_complete()


class _Socket(WebSocketsSansIOProtocol):
    """A WebSocket; one that is refused with an answer has had its handshake, which uvicorn would miss."""

    async def send(self, message: ASGISendEvent) -> None:
        """An ASGI message to the other side."""
        await super().send(message)
        if self.close_sent:
            self.handshake_complete = True


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

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

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
