"""Carrying bytes both ways until both ends have said that they are done, or nothing moves for too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio

CHUNK: Final = 64 << 10
"""Bytes held at most for each direction: the next are read when these have been taken."""
STREAM_ERRORS = (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


class Stream(Protocol):
    """One end of what is carried: what a socket and a connection of or into a guest have in common."""

    async def receive(self, max_bytes: int = 65536, /) -> bytes:
        """At least one byte; EndOfStream after the last."""

    async def send(self, item: bytes, /) -> None:
        """Send all of it, waiting while the other end does not take it."""

    async def send_eof(self) -> None:
        """Nothing more follows."""

    async def aclose(self) -> None:
        """Done with it."""


class GuestStream(Stream, Protocol):
    """A connection a program in a VM has made."""

    def reset(self) -> None:
        """Break it off, as a refused connection is."""


@dataclass(slots=True)
class Meter:
    """Counts one connection's bytes and keeps it alive while there are any.

    idle: seconds without a byte in either direction until `scope`, in which it is carried, ends.  spend: told
    of bytes from the VM and to the VM before they are passed on; false ends the connection.
    """

    idle: float
    spend: Callable[[int, int], bool]
    up: int = 0
    down: int = 0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    def touch(self) -> None:
        """Something moved."""
        self.scope.deadline = anyio.current_time() + self.idle

    def sent(self, count: int) -> bool:
        """Bytes from the VM; whether they may pass."""
        self.up += count
        self.touch()
        return self.spend(count, 0)

    def received(self, count: int) -> bool:
        """Bytes to the VM; whether they may pass."""
        self.down += count
        self.touch()
        return self.spend(0, count)


async def relay(guest: Stream, far: Stream, meter: Meter) -> None:
    """Carry until both directions have ended or one broke."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_to_end, guest, far, meter.sent, tasks.cancel_scope)
        await _end_to_end(far, guest, meter.received, tasks.cancel_scope)


async def _end_to_end(
    source: Stream, sink: Stream, passing: Callable[[int], bool], whole: anyio.CancelScope
) -> None:
    """One direction: its end is passed on as an end, its breaking ends both."""
    try:
        if await pump(source, sink, passing):
            await sink.send_eof()
            return
    except STREAM_ERRORS:
        pass
    whole.cancel()


async def pump(source: Stream, sink: Stream, passing: Callable[[int], bool]) -> bool:
    """Carry one direction to its end; false where `passing` said no."""
    while True:
        try:
            data = await source.receive(CHUNK)
        except anyio.EndOfStream:
            return True
        if not passing(len(data)):
            return False
        await sink.send(data)
