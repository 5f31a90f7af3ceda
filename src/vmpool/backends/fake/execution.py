"""One execution inside a fake machine: its output windows, its standard input and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import anyio

from vmpool.agent.codec import Fields, Frame, encode, pack
from vmpool.agent.messages import STDERR, STDOUT, WINDOW_BYTES, Message
from vmpool.backends.fake.files import Files
from vmpool.backends.fake.process import Interrupt, Much
from vmpool.backends.fake.shell import run_program

Send = Callable[[bytes], None]
_SIGINT = 2
_SIGKILL = 9
_MAX_RSS = 8 << 20
_OUTPUT_FRAME_BYTES = 8 << 10
_IGNORED_SIGNALS = frozenset({0, 17, 18, 23, 28})  # 0 is a probe; CHLD, CONT, URG and WINCH do nothing


@dataclass(slots=True)
class _Out:
    """Unacknowledged output of one stream; `base` is the offset of its first byte."""

    base: int = 0
    data: bytearray = field(default_factory=bytearray)

    @property
    def end(self) -> int:
        return self.base + len(self.data)


class Execution:
    """Implements `process.Inside` for the program it runs."""

    def __init__(self, execution_id: int, start: Fields, files: Files, hostname: str, pid: int) -> None:
        self.id = execution_id
        self.files = files
        self.hostname = hostname
        self.pid = pid
        self.argv = _words(start.many("argv"))
        self.cwd = files.resolve(_text(start.raw("cwd")) or "/home/user", "/")
        self.env: Mapping[str, str] = dict(
            word.partition("=")[::2] for word in _words(start.many("env")) if "=" in word
        )
        self.started = anyio.current_time()
        self._build = _words(start.many("build_argv"))
        self._source = _text(start.raw("source_path"))
        self._source_data = start.raw("source_data")
        self._scratch = _text(start.raw("scratch_path"))
        self._timeout = start.u64("timeout_ms") / 1000 or None
        self._outs = {STDOUT: _Out(), STDERR: _Out()}
        self._subscriber: Send | None = None
        self._changed: list[anyio.Event] = []
        self._stdin = bytearray(start.raw("stdin_data"))
        self._stdin_stream = self._stdin_open = bool(start.u64("stdin_open"))
        self._stdin_received = 0
        self.terminal = start.u64("terminal")
        self._stdin_read = 0
        self._scope: anyio.CancelScope | None = None
        self._killed_by = 0
        self._cancelled = False
        self.interrupt: Interrupt | None = None
        self._ended: bytes | None = None
        self.released = False
        self.over = anyio.Event()

    @property
    def running(self) -> bool:
        return self._ended is None

    # -- Inside

    async def write(self, stream: int, data: bytes) -> None:
        if self.terminal:
            stream, data = STDOUT, data.replace(b"\n", b"\r\n")
        out = self._outs[stream]
        view = memoryview(data)
        while view:
            room = WINDOW_BYTES - len(out.data)
            if self.released:
                return
            if room <= 0:
                await self._change()
                continue
            piece = bytes(view[:room])
            view = view[len(piece) :]
            offset = out.end
            out.data += piece
            self._deliver(stream, piece, offset)

    def _deliver(self, stream: int, data: bytes, offset: int) -> None:
        """In frames as small as a real agent's: of a connection that breaks early some come over."""
        for at in range(0, len(data), _OUTPUT_FRAME_BYTES):
            piece = data[at : at + _OUTPUT_FRAME_BYTES]
            self._send(encode(Message.OUTPUT, self.id, piece, stream=stream, offset=offset + at))

    async def read(self, much: Much = "all") -> bytes:
        collected = bytearray()
        while True:
            end = self._stdin.find(b"\n") + 1 if much == "line" else 0
            taken = end or len(self._stdin)
            collected += self._stdin[:taken]
            del self._stdin[:taken]
            if taken and self._stdin_stream:
                self._stdin_read += taken
                self._send(encode(Message.STDIN_ACK, self.id, offset=self._stdin_read))
            if end or not self._stdin_open or (collected and much == "some"):
                return bytes(collected)
            await self._change()

    # -- the agent's side

    def prepare(self) -> None:
        """Lay out the source and the scratch directory; OSError where the machine refuses."""
        if self.cwd not in self.files.directories:
            raise FileNotFoundError(2, "No such file or directory", self.cwd)
        if self._scratch:
            self.files.make_directory(self._scratch, parents=True)
        if self._source:
            self.files.write(self._source, self._source_data)

    async def run(self) -> None:
        """The program's life: build, run, clean up, say how it ended."""
        status, timed_out, build_failed = 0, False, False
        try:
            with anyio.move_on_after(self._timeout) as scope:
                self._scope = scope
                if self._killed_by:
                    scope.cancel()
                if self._build:
                    argv, self.argv = self.argv, self._build
                    status = await run_program(self)
                    self.argv = argv
                    build_failed = status != 0
                if not build_failed:
                    status = await run_program(self)
            if scope.cancelled_caught:
                timed_out = not self._killed_by
                self._killed_by = self._killed_by or _SIGKILL
            elif self._killed_by:
                self._killed_by = 0
        finally:
            if self._source:
                self.files.files.pop(self._source, None)
            if self._scratch in self.files.directories:
                self.files.remove(self._scratch, tree=True)
        self._end(status, timed_out, build_failed)

    def _end(self, status: int, timed_out: bool, build_failed: bool) -> None:
        duration = anyio.current_time() - self.started
        payload = pack(
            Message.EXITED,
            status=0 if self._killed_by else status,
            signal=self._killed_by,
            timed_out=int(timed_out),
            user_us=1000,
            system_us=500,
            max_rss_bytes=_MAX_RSS,
            duration_us=int(duration * 1e6),
            stdout_bytes=self._outs[STDOUT].end,
            stderr_bytes=self._outs[STDERR].end,
            build_failed=int(build_failed),
            cancelled=int(self._cancelled),
        )
        self._ended = encode(Message.EXITED, self.id, payload)
        self._send(self._ended)
        self.over.set()

    def attach(self, send: Send, offsets: tuple[int, int] | None, *, already: bool) -> bool:
        """Deliver to this connection from here on, beginning at the offsets; False if they are gone."""
        starts = offsets or (self._outs[STDOUT].base, self._outs[STDERR].base)
        for out, start in zip(self._outs.values(), starts, strict=True):
            if not out.base <= start <= out.end:
                return False
        self._subscriber = send
        send(encode(Message.STARTED, self.id, pack(Message.STARTED, pid=self.pid, already=int(already))))
        for (stream, out), start in zip(self._outs.items(), starts, strict=True):
            if rest := bytes(out.data[start - out.base :]):
                self._deliver(stream, rest, start)
        if self._stdin_stream:
            send(encode(Message.STDIN_ACK, self.id, offset=self._stdin_read))
        if self._ended is not None:
            send(self._ended)
        return True

    def detach(self, send: Send) -> None:
        if self._subscriber == send:
            self._subscriber = None

    def acknowledge(self, stream: int, offset: int) -> None:
        out = self._outs.get(stream)
        if out is not None and out.base < offset <= out.end:
            del out.data[: offset - out.base]
            out.base = offset
            self._wake()

    def feed(self, frame: Frame) -> None:
        known = self._stdin_received - frame.offset
        if known < 0 or not self._stdin_open:
            return
        fresh = frame.payload[known:]
        self._stdin_received += len(fresh)
        self._stdin += fresh
        self._wake()

    def close_stdin(self) -> None:
        self._stdin_open = False
        self._wake()

    def release(self) -> None:
        self.released = True
        self._wake()

    def kill(self, signal: int, *, cancelled: bool = False) -> None:
        if signal in _IGNORED_SIGNALS or self._ended is not None:
            return
        if signal == _SIGINT and self.interrupt is not None:
            self.interrupt()
            return
        self._killed_by = signal
        self._cancelled = cancelled
        if self._scope is not None:
            self._scope.cancel()

    def _send(self, frame: bytes) -> None:
        if self._subscriber is not None:
            self._subscriber(frame)

    async def _change(self) -> None:
        event = anyio.Event()
        self._changed.append(event)
        await event.wait()

    def _wake(self) -> None:
        for event in self._changed:
            event.set()
        self._changed.clear()


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _words(raw: list[bytes]) -> tuple[str, ...]:
    return tuple(_text(word) for word in raw)
