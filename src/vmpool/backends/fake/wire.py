"""A byte stream between two tasks of one process, which can also be cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

_CAPACITY = 256 << 10


class _Pipe:
    """One direction.  A send waits while the buffer is full and then goes in whole, or not at all."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.ended = False  # the writer said it is done
        self.broken = False  # cut, or one of the ends closed
        self._waiters: list[anyio.Event] = []

    def changed(self) -> None:
        for event in self._waiters:
            event.set()
        self._waiters.clear()

    async def change(self) -> None:
        event = anyio.Event()
        self._waiters.append(event)
        await event.wait()


class MemoryStream(ByteStream):
    """One end of `pair()`."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await checkpoint()
        pipe = self._incoming
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if pipe.buffer:
                data = bytes(pipe.buffer[:max_bytes])
                del pipe.buffer[:max_bytes]
                pipe.changed()
                return data
            if pipe.broken:
                raise anyio.BrokenResourceError
            if pipe.ended:
                raise anyio.EndOfStream
            await pipe.change()

    async def send(self, item: bytes) -> None:
        await checkpoint()
        pipe = self._outgoing
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if pipe.broken or pipe.ended:
                raise anyio.BrokenResourceError
            if len(pipe.buffer) < _CAPACITY:
                pipe.buffer += item
                pipe.changed()
                return
            await pipe.change()

    async def send_eof(self) -> None:
        self._outgoing.ended = True
        self._outgoing.changed()

    async def aclose(self) -> None:
        self._closed = True
        self._outgoing.ended = True
        self._incoming.broken = True
        self._outgoing.changed()
        self._incoming.changed()

    def cut(self) -> None:
        """Break both directions at once, losing what is under way."""
        for pipe in (self._incoming, self._outgoing):
            pipe.buffer.clear()
            pipe.broken = True
            pipe.changed()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {}


def pair() -> tuple[MemoryStream, MemoryStream]:
    """Two ends of a fresh stream."""
    there, back = _Pipe(), _Pipe()
    return MemoryStream(there, back), MemoryStream(back, there)
