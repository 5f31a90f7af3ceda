"""A connection that leaves HTTP: after an answer 101 it is a stream of bytes like any other.

`vmpool.http_upgrade` puts an `Upgrade` into the `extensions` of every request's ASGI scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, cast

import anyio
from anyio.lowlevel import checkpoint
from starlette.types import Scope

EXTENSION: Final = "vmpool.upgrade"
"""Where a request's `Upgrade` is in its scope's `extensions`."""
MOST_HELD: Final = 64 << 10
"""Bytes that wait to be received, until the client is not read any more."""

Headers = Sequence[tuple[bytes, bytes]]


class Flow(Protocol):
    """The server's hold on one connection."""

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""

    def resume_reading(self) -> None:
        """Take it again."""

    async def drain(self) -> None:
        """Wait until most of what was written is gone."""


class Upgraded:
    """Implements `vmpool.network.relay.Stream`; the server's protocol feeds it by the last three methods."""

    def __init__(self, transport: asyncio.Transport, flow: Flow) -> None:
        self._transport = transport
        self._flow = flow
        self._held = bytearray()
        self._ended = False
        self._lost = False
        self._event = anyio.Event()

    async def receive(self, max_bytes: int = 65536, /) -> bytes:
        """At least one byte; EndOfStream after the last, BrokenResourceError if the client went away."""
        await checkpoint()
        while not self._held:
            if self._lost:
                raise anyio.BrokenResourceError("the client went away")
            if self._ended:
                raise anyio.EndOfStream
            await self._event.wait()
        data = bytes(self._held[:max_bytes])
        del self._held[:max_bytes]
        if len(self._held) < MOST_HELD:
            self._flow.resume_reading()
        if self._ended or self._lost:
            self._wake()  # who waits for all of it to be received
        return data

    async def until_lost(self, *, or_ended: bool = False) -> None:
        """Until the client went away and what it had sent is received; or_ended: or sends nothing more."""
        while self._held or not (self._lost or (or_ended and self._ended)):
            await self._event.wait()

    async def send(self, item: bytes, /) -> None:
        """Send all of it, waiting while the client does not take it."""
        self._check()
        self._transport.write(item)
        await self._flow.drain()
        self._check()

    def _check(self) -> None:
        if self._lost or self._transport.is_closing():
            raise anyio.BrokenResourceError("the client went away")

    async def send_eof(self) -> None:
        """Nothing more follows.  TLS has no half of a connection: there it is closed."""
        await checkpoint()
        if self._lost or self._transport.is_closing():
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()

    async def aclose(self) -> None:
        """Done with it; what was sent still goes out."""
        self._transport.close()
        await checkpoint()

    # -- for the server's protocol

    def arrived(self, data: bytes) -> None:
        """The client has sent this."""
        self._held += data
        if len(self._held) >= MOST_HELD:
            self._flow.pause_reading()
        self._wake()

    def ended(self) -> None:
        """The client sends nothing more."""
        self._ended = True
        self._wake()

    def lost(self) -> None:
        """The connection is gone."""
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        self._event.set()
        self._event = anyio.Event()


class Upgrade(Protocol):
    """What a server offers beside the answer to a request."""

    @property
    def offered(self) -> bool:
        """Whether the request asks for another protocol and is not answered yet."""

    def switch(self, headers: Headers) -> Upgraded:
        """Answer 101 with these headers; what the connection is from then on.  Only where it is `offered`."""

    def abort(self) -> None:
        """Cut the connection: an answer that was begun cannot be finished."""


def upgrade_of(scope: Scope) -> Upgrade | None:
    """The request's; None on a server that has none."""
    return cast("Upgrade | None", (scope.get("extensions") or {}).get(EXTENSION))


def protocol_asked_for(scope: Scope) -> bytes | None:
    """What the request asks to go on with, by its name; None where it cannot be had or is not asked for."""
    upgrade = upgrade_of(scope)
    if upgrade is None or not upgrade.offered:
        return None
    return next((value for name, value in scope["headers"] if name == b"upgrade"), None)
