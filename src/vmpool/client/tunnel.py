"""A port of a VM on this machine: a listener on loopback, and a tunnel for each connection it accepts.

For an event loop; `_sync/forwarding.py` runs it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import anyio
import httpx
from anyio import to_thread
from anyio.abc import SocketAttribute, SocketStream

from vmpool.client.errors import ClientError, ForwardingFailed, ServerUnreachable
from vmpool.client.forwards import Forward, Problem
from vmpool.client.local import Address
from vmpool.client.tls import trust_of
from vmpool.client.wire import error_of
from vmpool.domain.tunnel import END, PROTOCOL, Pieces, piece

LOOPBACK = "127.0.0.1"
CHUNK = 64 << 10
_BROKEN = (
    httpx.TransportError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
    OSError,
)


class Far(Protocol):
    """A connection that has left HTTP, as httpx gives it."""

    async def read(self, max_bytes: int) -> bytes:
        """What has come; nothing at its end."""

    async def write(self, buffer: bytes) -> None:
        """Send all of it."""


@asynccontextmanager
async def forwarded(
    address: Address, path: str, remote: int, local: int, problem: Problem
) -> AsyncIterator[Forward]:
    """Listen on loopback while the block lasts.

    path: of the tunnel.  local: the port to listen at; 0: any.  A connection that cannot be carried is
    closed, and `problem` hears why.  Raises ForwardingFailed where nothing can listen.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host=LOOPBACK, local_port=local)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ForwardingFailed(f"cannot listen at port {local} of this machine: {why}") from error
    port: int = listener.extra(SocketAttribute.local_port)
    failure: BaseException | None = None
    async with listener, await _http(address) as http, anyio.create_task_group() as tasks:

        async def one(near: SocketStream) -> None:
            async with near:
                try:
                    await _through(http, path, near)
                except ClientError as error:
                    problem(error)

        tasks.start_soon(listener.serve, one, tasks)
        try:
            yield Forward(LOOPBACK, port, remote)
        except BaseException as error:  # carried past the group, which would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _http(address: Address) -> httpx.AsyncClient:
    """A client of its own: its connections become tunnels, one each."""
    trust = await to_thread.run_sync(trust_of, address)
    return httpx.AsyncClient(
        base_url=address.url,
        headers=address.headers(),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        timeout=httpx.Timeout(None, connect=10.0),
        trust_env=not address.is_loopback,
        verify=trust,
    )


async def _through(http: httpx.AsyncClient, path: str, near: SocketStream) -> None:
    """Carry one connection to its end; ClientError where there is no tunnel for it."""
    request = http.build_request("GET", path, headers={"Connection": "Upgrade", "Upgrade": PROTOCOL})
    try:
        response = await http.send(request, stream=True)
    except httpx.TransportError as error:
        url, said = str(http.base_url).rstrip("/"), str(error) or type(error).__name__
        raise ServerUnreachable(url, said, "never_dispatched") from error
    try:
        if response.status_code != 101:
            raise error_of(response.status_code, response.headers, await response.aread())
        await _carry(near, response.extensions["network_stream"])
    finally:
        with anyio.move_on_after(5, shield=True):
            await response.aclose()


async def _carry(near: SocketStream, far: Far) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_up, near, far, tasks.cancel_scope)
        await _down(far, near, tasks.cancel_scope)


async def _up(near: SocketStream, far: Far, whole: anyio.CancelScope) -> None:
    try:
        async for data in near:
            await far.write(piece(data))
        await far.write(END)
    except _BROKEN:
        whole.cancel()


async def _down(far: Far, near: SocketStream, whole: anyio.CancelScope) -> None:
    pieces = Pieces()
    try:
        while not pieces.ended:
            data = await far.read(CHUNK)
            if not data:  # without the end before it
                whole.cancel()
                return
            for part in pieces.feed(data):
                await near.send(part)
        await near.send_eof()
    except _BROKEN:
        whole.cancel()
