"""One network channel: a TCP connection of a program in the VM, as a byte stream on this side.

The far side is hostile: it can send no byte it has no credit for, and what it sends lies in one buffer of at
most that size, in however many frames it came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from vmpool.agent.codec import Frame, ProtocolError, encode
from vmpool.agent.messages import CHANNEL_WINDOW_BYTES, Message

FRAME_BYTES: Final = 32 << 10
"""A channel's data goes in pieces of this size, so that other channels and executions get in between."""


class Carrier(Protocol):
    """What a channel needs of the connection it is carried over."""

    def put(self, frame: bytes) -> None:
        """Send one frame, or queue it."""

    async def room(self) -> None:
        """Wait while much is queued already."""

    def forget(self, channel: Channel) -> None:
        """It is over: its number means nothing any more."""


class Channel(ByteStream):
    """Implements `vmpool.agent.base.NetworkStream`; the reader of the connection calls the `on_*` methods."""

    def __init__(self, number: int, carrier: Carrier) -> None:
        self.number = number
        self._carrier = carrier
        self._buffer = bytearray()
        self._received = 0
        self._granted = CHANNEL_WINDOW_BYTES
        self._ended = False  # the far side has sent all
        self._sent = 0
        self._credit = CHANNEL_WINDOW_BYTES
        self._finished = False  # we have sent all
        self._broken: str | None = None
        self._closed = False
        self._arrival = anyio.Event()
        self._release = anyio.Event()

    # -- for whoever holds the stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """At least one byte; EndOfStream after the last, BrokenResourceError if it was broken off."""
        await checkpoint()
        while True:
            if self._closed:
                raise anyio.ClosedResourceError
            if self._buffer:
                data = bytes(self._buffer[:max_bytes])
                del self._buffer[:max_bytes]
                self._grant()
                return data
            if self._broken is not None:
                raise anyio.BrokenResourceError(self._broken)
            if self._ended:
                raise anyio.EndOfStream
            await self._arrival.wait()

    def _grant(self) -> None:
        """Let the far side send on, once half of what it may is consumed."""
        limit = self._received - len(self._buffer) + CHANNEL_WINDOW_BYTES
        if limit - self._granted >= CHANNEL_WINDOW_BYTES // 2 and not self._ended and self._broken is None:
            self._granted = limit
            self._carrier.put(encode(Message.CHANNEL_CREDIT, self.number, offset=limit))

    async def send(self, item: bytes) -> None:
        """All of it, waiting for credit and for room on the connection."""
        await checkpoint()
        position = 0
        while position < len(item):
            self._check_writable()
            size = min(len(item) - position, self._credit - self._sent, FRAME_BYTES)
            if size == 0:
                await self._release.wait()
                continue
            piece = bytes(item[position : position + size])
            self._carrier.put(encode(Message.CHANNEL_DATA, self.number, piece, offset=self._sent))
            self._sent += size
            position += size
            await self._carrier.room()

    def _check_writable(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._broken is not None:
            raise anyio.BrokenResourceError(self._broken)
        if self._finished:
            raise anyio.BrokenResourceError("the end was sent already")

    async def send_eof(self) -> None:
        """Nothing more follows from this side."""
        await checkpoint()
        if self._closed:
            raise anyio.ClosedResourceError
        if not self._finished and self._broken is None:
            self._finish()

    def _finish(self) -> None:
        self._finished = True
        self._carrier.put(encode(Message.CHANNEL_EOF, self.number, offset=self._sent))
        if self._ended:
            self._carrier.forget(self)

    async def aclose(self) -> None:
        """Done with it in both directions; what was sent is still delivered."""
        if not self._closed:
            if not self._over():
                self._say_closed()
                self._carrier.forget(self)
            self._close()
        await checkpoint()

    def _say_closed(self) -> None:
        self._carrier.put(encode(Message.CHANNEL_CLOSE, self.number))

    def reset(self) -> None:
        """Break it off, for both sides."""
        if not self._closed and not self._over():
            self._carrier.put(encode(Message.CHANNEL_RESET, self.number))
            self._carrier.forget(self)
        self._close()

    def _close(self) -> None:
        self._closed = True
        self._buffer.clear()
        self._wake()

    def _over(self) -> bool:
        return self._broken is not None or (self._ended and self._finished)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {}

    # -- for the reader of the connection

    def on_frame(self, frame: Frame) -> None:
        """Take a frame of this channel; ProtocolError for what no correct agent sends."""
        match frame.type:
            case Message.CHANNEL_DATA:
                self._on_data(frame)
            case Message.CHANNEL_CREDIT:
                self._credit = max(self._credit, frame.offset)
                self._release.set()
                self._release = anyio.Event()
            case Message.CHANNEL_EOF:
                self._on_eof(frame.offset)
            case Message.CHANNEL_RESET:
                self.lose("the program in the VM broke the connection off")
                self._carrier.forget(self)
            case _:
                raise ProtocolError(f"message {frame.type} for a network channel")

    def _on_data(self, frame: Frame) -> None:
        size = len(frame.payload)
        if self._ended or not size or frame.offset != self._received:
            raise ProtocolError(f"a channel's data at {frame.offset} does not follow on {self._received}")
        self._received += size
        if self._received > self._granted:
            raise ProtocolError("a channel's data beyond its credit")
        self._buffer += frame.payload
        self._arrived()

    def _on_eof(self, offset: int) -> None:
        if self._ended or offset != self._received:
            raise ProtocolError(f"a channel ends at {offset}, not at {self._received}")
        self._ended = True
        self._arrived()
        if self._finished:
            self._carrier.forget(self)

    def _arrived(self) -> None:
        self._arrival.set()
        self._arrival = anyio.Event()

    def lose(self, reason: str) -> None:
        """It is gone, with what has not been received yet; said to whoever uses it."""
        if not self._over():
            self._buffer.clear()
            self._broken = reason
        self._wake()

    def _wake(self) -> None:
        self._arrived()
        self._release.set()
        self._release = anyio.Event()


class AcceptedChannel(Channel):
    """Implements `vmpool.agent.base.GuestConnection`: one that a program in the VM has opened."""

    def __init__(
        self, number: int, carrier: Carrier, listener: Literal["proxy", "direct"], host: str, port: int
    ) -> None:
        super().__init__(number, carrier)
        self.listener = listener
        self.host = host
        self.port = port
