"""Content of a file over a connection of its own: bare bytes, as fast as both ends take them.

Nothing is re-made here when the stream breaks: whoever transfers knows how far it came and begins there anew.
"""

from __future__ import annotations

import select
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import anyio
from anyio.abc import ByteStream

from vmpool.agent.codec import Fields, Frame, ProtocolError, encode, pack, unpack
from vmpool.agent.connection import STREAM_ERRORS, unix_socket
from vmpool.agent.file_values import FileStatus, status_of
from vmpool.agent.messages import GENERATION, HEADER_BYTES, MAX_PAYLOAD_BYTES, SINCE, Message
from vmpool.errors import AgentRefused, AgentTooOld, AgentUnreachable

PIECE_BYTES: Final = 1 << 20
"""Bytes that are asked of a stream at once."""
BUFFER_BYTES: Final = 2 << 20
"""Of a socket: bytes that are on their way into a VM."""
_SNDBUFFORCE: Final = 32
STALL_SECONDS: Final = 120.0
"""How long nothing may move, as while a VM is held for its snapshot."""
_CHANNEL = 1 << 63
_PIECE_HEADER = encode(Message.FILE_PIECE, _CHANNEL)


class FileStream:
    """One connection on which HELLO was answered, for one file after another."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._socket = unix_socket(stream)
        if self._socket is not None:
            _widen(self._socket)
        self._held = bytearray()

    @classmethod
    async def open(cls, stream: ByteStream, since: int = SINCE[Message.FILE_GET]) -> FileStream:
        """Say HELLO.  AgentTooOld before generation `since`, AgentUnreachable; the stream is closed then."""
        opened = cls(stream)
        try:
            fields = await opened.ask(
                Message.HELLO, pack(Message.HELLO, generation=GENERATION), Message.HELLO_OK
            )
            if fields.u64("generation") < since:
                raise AgentTooOld(since, fields.u64("generation"))
        except BaseException:
            await opened.aclose()
            raise
        return opened

    async def aclose(self) -> None:
        """Close it, whatever is under way."""
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

    async def ask(self, message: Message, payload: bytes, expected: Message) -> Fields:
        """One request and its answer; AgentRefused, AgentUnreachable."""
        with _unreachable():
            await self.send(encode(message, _CHANNEL, payload))
            return await self.answer(expected)

    async def answer(self, expected: Message, stall: float | None = STALL_SECONDS) -> Fields:
        """The next frame, which must be this one.  stall: seconds nothing may come for; None: for ever."""
        with _unreachable():
            frame = await self._frame(stall)
            if frame.type == Message.FAILED:
                fields = unpack(Message.FAILED, frame.payload)
                raise AgentRefused(fields.text("reason"), fields.text("message"), fields.u64("errno") or None)
            if frame.type != expected:
                raise ProtocolError(f"message {frame.type} where {expected.name} should come")
            return unpack(expected, frame.payload)

    async def _frame(self, stall: float | None) -> Frame:
        header = await self._exactly(HEADER_BYTES, stall)
        length = int.from_bytes(header[:4], "little")
        if length > MAX_PAYLOAD_BYTES:
            raise ProtocolError(f"a frame announces {length} bytes")
        return Frame(header[4], _CHANNEL, await self._exactly(length, STALL_SECONDS))

    async def _exactly(self, count: int, stall: float | None) -> bytes:
        while len(self._held) < count:
            self._held += await self._receive(PIECE_BYTES, stall)
        found = bytes(self._held[:count])
        del self._held[:count]
        return found

    async def _receive(self, most: int, stall: float | None = STALL_SECONDS) -> bytes:
        with anyio.fail_after(stall):
            return await self._stream.receive(most)

    async def bare(self, most: int) -> bytes:
        """Bytes that are in no frame, at least one."""
        with _unreachable():
            if self._held:
                found = bytes(self._held[:most])
                del self._held[:most]
                return found
            return await self._receive(min(most, PIECE_BYTES))

    async def send(self, data: bytes | memoryview) -> None:
        """All of it."""
        with _unreachable(), anyio.fail_after(STALL_SECONDS):
            await self._stream.send(data)  # type: ignore[arg-type]  # of a socket: any bytes will do

    async def send_piece(self, data: bytes | memoryview) -> None:
        """One FILE_PIECE.  What the agent says before the end is a refusal, and ends it."""
        if self._said_something():
            await self.answer(Message.DONE)
            _broken(ProtocolError("DONE before the end"))
        await self.send(len(data).to_bytes(4, "little") + _PIECE_HEADER[4:])
        if data:
            await self.send(data)

    def _said_something(self) -> bool:
        return bool(self._held) or (self._socket is not None and _readable(self._socket))


def _widen(sending: socket.socket) -> None:
    """Let much be on its way: every time one side waits for the other costs a turn of the scheduler."""
    try:
        sending.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, BUFFER_BYTES)
    except OSError:  # only root may have more than others
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)


def _readable(source: socket.socket) -> bool:
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(0))


def _broken(error: Exception) -> NoReturn:
    raise AgentUnreachable(
        f"the transfer broke off: {str(error) or type(error).__name__}", dispatch="outcome_unknown"
    ) from error


@contextmanager
def _unreachable() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        _broken(TimeoutError(f"nothing moved for {STALL_SECONDS:g} seconds: {error}"))
    except (ProtocolError, *STREAM_ERRORS) as error:
        _broken(error)


class IncomingFile:
    """A file on its way out, to be closed.  length: bytes that come; `status.size` is of the whole."""

    def __init__(self, stream: FileStream, fields: Fields) -> None:
        self._stream = stream
        self.status: FileStatus = status_of(fields, stat.S_IFREG)
        self.length = fields.u64("length")

    async def pieces(self) -> AsyncIterator[bytes]:
        """`length` bytes; AgentUnreachable where fewer come, as from a file that was cut meanwhile."""
        left = self.length
        while left:
            piece = await self._stream.bare(left)
            left -= len(piece)
            yield piece

    async def aclose(self) -> None:
        """Done with it, whether all has come or not."""
        await self._stream.aclose()


class OutgoingFile:
    """A file on its way into a VM, to be closed.  size: bytes it had before."""

    def __init__(self, stream: FileStream, fields: Fields) -> None:
        self._stream = stream
        self.size = fields.u64("size")

    async def send(self, data: bytes) -> None:
        """What follows; AgentRefused `no_space` and others as soon as the agent says so."""
        view = memoryview(data)
        for at in range(0, len(data), PIECE_BYTES):
            await self._stream.send_piece(view[at : at + PIECE_BYTES])

    async def finish(self) -> None:
        """That was all; returns once it is written.  AgentRefused."""
        await self._stream.send_piece(b"")
        await self._stream.answer(Message.DONE)

    async def aclose(self) -> None:
        """Done with it; what was sent before is written, the end may not be."""
        await self._stream.aclose()
