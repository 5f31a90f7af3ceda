"""One live byte stream to an agent: whole frames out in order, whole frames in, and no memory of what was
before.  What survives a broken stream is the client's business.

A local agent's stream is a unix socket.  Its frames are read and written right where they come and go,
without a task to wake and a watch to renew for each; what the socket does not take at once waits for the
writer.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import anyio
from anyio.abc import ByteStream, SocketAttribute

from vmpool.agent.codec import Decoder, Frame, ProtocolError, encode, pack, unpack
from vmpool.agent.messages import GENERATION, Message

STREAM_ERRORS = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""What a byte stream raises when the other side is gone."""

_RECEIVE_BYTES = 128 << 10
_MANY_FRAMES = 64
"""So many frames at once are a flood: the next piece is a small one."""
_FLOOD_BYTES = 4 << 10
_LAZY_SECONDS = 0.02
"""How long a frame that nobody waits for may wait for one that somebody does."""
_HEARTBEAT_SECONDS = 10.0
_FLUSH_SECONDS = 0.25
_HELLO_CHANNEL = 1 << 63
_MUCH_QUEUED = 256 << 10
"""So many bytes not yet taken by the stream: whoever can wait, waits."""
_MOST_QUEUED = 8 << 20
"""An agent that lets so many bytes wait while it goes on sending is none: it would fill our memory."""


class Connection:
    """A stream on which HELLO was answered.

    generation: the lower of both sides'.  boot_id: drawn by the agent when it started, so that a restarted
    agent, which knows none of the executions, is told from a broken stream.  heard: something came
    after HELLO.  held: the agent is known to be silent, which is no fault.
    """

    def __init__(self, stream: ByteStream, decoder: Decoder, hello: Frame) -> None:
        fields = unpack(Message.HELLO_OK, hello.payload)
        self.generation = min(GENERATION, fields.u64("generation", 1))
        self.boot_id = fields.u64("boot_id")
        self._stream = stream
        self._decoder = decoder
        self._outgoing: deque[bytes] = deque()
        self._queued = 0
        self._writable: anyio.Event | None = None
        self._drained = anyio.Event()
        self._broken = anyio.Event()
        self._sending: anyio.CancelScope | None = None
        self._socket = unix_socket(stream)
        self._lazy: asyncio.TimerHandle | None = None
        self.heard = False
        self.held = False
        self._alive = True

    @classmethod
    async def open(cls, stream: ByteStream) -> Connection:
        """Say HELLO and wait for the answer; the stream is closed if that fails.

        Raises ProtocolError, or one of STREAM_ERRORS.
        """
        try:
            await stream.send(
                encode(Message.HELLO, _HELLO_CHANNEL, pack(Message.HELLO, generation=GENERATION))
            )
            decoder = Decoder()
            while not (frames := decoder.feed(await stream.receive(_RECEIVE_BYTES))):
                pass
            if len(frames) != 1 or frames[0].type != Message.HELLO_OK:
                raise ProtocolError("the first frame was not HELLO_OK")
            return cls(stream, decoder, frames[0])
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise

    def send(self, data: bytes) -> None:
        """Send one frame, or queue it.

        Not a coroutine: a caller cancelled in the middle of a write would leave half a frame on a stream that
        others share.  The queue is bounded by the protocol's windows and by callers awaiting their replies.
        """
        self._outgoing.append(data)
        self._queued += len(data)
        self._push()
        if self._queued > _MOST_QUEUED:
            self._broken.set()

    async def room(self) -> None:
        """Wait until the stream has taken most of what is queued."""
        while self._queued > _MUCH_QUEUED and not self._broken.is_set():
            await self._drained.wait()

    def send_lazily(self, data: bytes) -> None:
        """Queue one frame that may go with the next one that is sent, or a moment later by itself."""
        self._outgoing.append(data)
        self._queued += len(data)
        if self._socket is None:
            self._push()
        elif self._lazy is None:
            self._lazy = asyncio.get_running_loop().call_later(_LAZY_SECONDS, self._push)

    def _push(self) -> None:
        """Send what is queued: now, if the socket takes it, else by the writer."""
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        if self._socket is not None and self._writable is not None:
            batch = b"".join(self._outgoing)
            try:
                sent = self._socket.send(batch)
            except BlockingIOError:
                sent = 0
            except OSError:
                sent = 0  # the writer meets it too and ends this, even where the reader sees no break
            self._outgoing.clear()
            self._queued = len(batch) - sent
            if not self._queued:
                return
            self._outgoing.append(batch[sent:])
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    async def serve(self, on_frame: Callable[[Frame], None]) -> Exception:
        """Move frames until the stream breaks or `on_frame` raises ProtocolError; returns which it was.

        The stream is closed when nobody waits on it any more: closed under a waiting reader, its descriptor's
        number could go to the next connection while the event loop still watches it for this one.
        """
        reason: Exception = anyio.BrokenResourceError("the stream broke while writing, or fell silent")
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, tasks.cancel_scope)
                tasks.start_soon(self._keep_alive, tasks.cancel_scope)
                tasks.start_soon(self._watch_queue, tasks.cancel_scope)
                reason = await self._read(on_frame)
                tasks.cancel_scope.cancel()
            return reason
        finally:
            if self._lazy is not None:
                self._lazy.cancel()
            self._broken.set()
            self._drained.set()
            self._writable = None  # what is sent from here on must not get into the middle of what is flushed
            await self._flush()
            await anyio.aclose_forcefully(self._stream)

    async def _flush(self) -> None:
        """Say what was queued before the end, such as a RELEASE, unless a frame is half out."""
        if self._outgoing and self._sending is None:
            with anyio.move_on_after(_FLUSH_SECONDS, shield=True), suppress(*STREAM_ERRORS):
                await self._stream.send(b"".join(self._outgoing))

    async def _read(self, on_frame: Callable[[Frame], None]) -> Exception:
        try:
            if self._socket is not None:
                return await self._watch(self._socket, on_frame)
            while True:
                self._take(await self._stream.receive(_RECEIVE_BYTES), on_frame)
        except (*STREAM_ERRORS, ProtocolError) as error:
            return error
        finally:
            if self._sending is not None:
                self._sending.deadline = anyio.current_time() + _FLUSH_SECONDS

    async def _watch(self, source: socket.socket, on_frame: Callable[[Frame], None]) -> Exception:
        """Take what comes on the socket, as it comes, until it ends; returns why."""
        ended = anyio.Event()
        reason: Exception = anyio.EndOfStream()

        most = _RECEIVE_BYTES

        def readable() -> None:
            nonlocal reason, most
            try:
                count = source.recv_into(_ARRIVED[:most])
                if count:
                    frames = self._take(bytes(_ARRIVED[:count]), on_frame)
                    # A guest that floods us with tiny frames is not to keep the event loop from others.
                    most = _RECEIVE_BYTES if frames < _MANY_FRAMES else _FLOOD_BYTES
                    return
            except BlockingIOError:
                return
            except (OSError, ProtocolError) as error:
                reason = error
            loop.remove_reader(source)
            ended.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(source, readable)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(source)
        return reason

    def _take(self, data: bytes, on_frame: Callable[[Frame], None]) -> int:
        """Hand on the frames that `data` completes; how many they are."""
        self.heard = self._alive = True
        frames = self._decoder.feed(data)
        for frame in frames:
            on_frame(frame)
        return len(frames)

    async def _write(self, connection: anyio.CancelScope) -> None:
        try:
            while True:
                if not self._outgoing:
                    self._writable = anyio.Event()
                    await self._writable.wait()
                batch = b"".join(self._outgoing)
                self._outgoing.clear()
                with anyio.CancelScope(shield=True) as self._sending:  # never half a batch
                    await self._stream.send(batch)
                if self._sending.cancelled_caught:
                    return
                self._sending = None
                self._queued -= len(batch)
                self._drained.set()
                self._drained = anyio.Event()
        except STREAM_ERRORS:
            await anyio.sleep(_FLUSH_SECONDS)  # the reader sees the break too, as a rule, and ends by itself
            connection.cancel()

    async def _watch_queue(self, connection: anyio.CancelScope) -> None:
        """Leave a far side that sends and does not read."""
        await self._broken.wait()
        connection.cancel()

    async def _keep_alive(self, connection: anyio.CancelScope) -> None:
        """Leave a stream whose far side went away without a word, as a forwarded one can."""
        while True:
            self._alive = False
            await anyio.sleep(_HEARTBEAT_SECONDS)
            if not self._is_missed():
                continue
            self.send(encode(Message.PING, _HELLO_CHANNEL))
            await anyio.sleep(_HEARTBEAT_SECONDS)
            if self._is_missed():
                connection.cancel()

    def _is_missed(self) -> bool:
        return not self._alive and not self.held


_ARRIVED = memoryview(bytearray(_RECEIVE_BYTES))
"""Where what a socket has is put for a moment: one for all connections of the event loop's thread."""


def unix_socket(stream: ByteStream) -> socket.socket | None:
    """The socket under the stream, if it is a local one that nothing else reads in the background."""
    found = stream.extra(SocketAttribute.raw_socket, None)
    return found if isinstance(found, socket.socket) and found.family == socket.AF_UNIX else None
