"""A small blocking client for tests of the agent: one socket, frames in and out, nothing hidden."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vmpool.agent.codec import EXECUTION, RLIMIT, Decoder, Fields, Frame, encode, pack, unpack
from vmpool.agent.messages import FIELDS, GENERATION, STDERR, STDOUT, Message

PATH = "/usr/local/bin:/usr/bin:/bin"
TIMEOUT = 30.0


class Refused(Exception):
    """The agent answered FAILED."""

    def __init__(self, fields: Fields) -> None:
        self.reason = fields.text("reason")
        self.errno = fields.u64("errno")
        super().__init__(f"{self.reason}: {fields.text('message')}")


@dataclass
class Result:
    """All of one execution."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    started: Fields | None = None
    exited: Fields | None = None

    def __getitem__(self, name: str) -> int:
        assert self.exited is not None
        return self.exited.u64(name)

    @property
    def warm(self) -> bool:
        assert self.started is not None
        return bool(self.started.u64("warm"))

    @property
    def outcome(self) -> tuple[str, str, int, int]:
        return (
            self.stdout.decode("utf-8", "backslashreplace"),
            self.stderr.decode("utf-8", "backslashreplace"),
            self["status"],
            self["signal"],
        )


class Wire:
    """One connection.  Frames of other executions than the one waited for are kept for their turn."""

    def __init__(self, path: Path, *, hello: bool = True) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(str(path))
        self._decoder = Decoder()
        self._frames: list[Frame] = []
        self._request = 1
        if hello:
            self.hello = self.ask(Message.HELLO, generation=GENERATION)

    def close(self) -> None:
        self.socket.close()

    def send(
        self, message: Message, channel: int, payload: bytes = b"", *, stream: int = 0, offset: int = 0
    ) -> None:
        self.socket.sendall(encode(message, channel, payload, stream=stream, offset=offset))

    def receive(self) -> Frame:
        while not self._frames:
            data = self.socket.recv(1 << 18)
            if not data:
                raise EOFError
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def expect(self, message: Message, channel: int) -> Fields:
        """The next frame of this type on this channel; Refused for a FAILED there; others are kept."""
        kept: list[Frame] = []
        try:
            while True:
                frame = self.receive()
                if frame.channel == channel and frame.type == message:
                    return unpack(message, frame.payload) if message in FIELDS else Fields({})
                if frame.channel == channel and frame.type == Message.FAILED:
                    raise Refused(unpack(Message.FAILED, frame.payload))
                kept.append(frame)
        finally:
            self._frames = kept + self._frames

    def ask(self, message: Message, **fields: int | str | bytes | Iterable[bytes] | None) -> Fields:
        self._request += 1
        self.send(message, self._request, pack(message, **fields))
        reply = {
            Message.HELLO: Message.HELLO_OK,
            Message.LIST: Message.LISTED,
            Message.STATS: Message.STATS_OK,
            Message.PING: Message.PONG,
            Message.FILE_READ: Message.FILE_DATA,
            Message.FILE_STAT: Message.FILE_STATUS,
            Message.FILE_LIST: Message.FILE_LISTED,
            Message.FILE_REMOVE: Message.FILE_REMOVED,
            Message.FILE_GET: Message.FILE_COMING,
            Message.FILE_WATCH: Message.FILE_WATCHING,
        }.get(message, Message.DONE)
        return self.expect(reply, self._request)

    def start(
        self,
        execution: int,
        *argv: str | bytes,
        env: Mapping[str, str] | None = None,
        rlimits: Mapping[int, tuple[int, int]] | None = None,
        build: Iterable[str] = (),
        **fields: int | str | bytes | None,
    ) -> None:
        variables = {"PATH": PATH, **(env or {})}
        payload = pack(
            Message.START,
            argv=[word if isinstance(word, bytes) else word.encode() for word in argv],
            env=[f"{name}={value}".encode() for name, value in variables.items()],
            rlimit=[RLIMIT.pack(number, *pair) for number, pair in (rlimits or {}).items()],
            build_argv=[word.encode() for word in build],
            **fields,
        )
        self.send(Message.START, execution, payload)

    def finish(self, execution: int, *, acknowledge: bool = True, release: bool = True) -> Result:
        """Everything until EXITED, acknowledged as it comes."""
        result = Result()
        kept: list[Frame] = []
        while result.exited is None:
            frame = self.receive()
            if frame.channel != execution:
                kept.append(frame)
                continue
            self.take(result, frame, acknowledge=acknowledge)
        self._frames = kept + self._frames
        if release:
            self.send(Message.RELEASE, execution)
        return result

    def take(self, result: Result, frame: Frame, *, acknowledge: bool = True) -> None:
        match frame.type:
            case Message.OUTPUT:
                stream = {STDOUT: result.stdout, STDERR: result.stderr}[frame.stream]
                assert frame.offset == len(stream), f"a gap: {frame.offset} after {len(stream)}"
                stream += frame.payload
                if acknowledge:
                    self.send(Message.ACK, frame.channel, stream=frame.stream, offset=len(stream))
            case Message.STARTED:
                result.started = unpack(Message.STARTED, frame.payload)
            case Message.EXITED:
                result.exited = unpack(Message.EXITED, frame.payload)
            case Message.FAILED:
                raise Refused(unpack(Message.FAILED, frame.payload))
            case Message.STDIN_ACK:
                pass
            case other:
                raise AssertionError(f"message {other}")

    def run(self, execution: int, *argv: str | bytes, **fields: object) -> Result:
        self.start(execution, *argv, **fields)  # type: ignore[arg-type]
        return self.finish(execution)

    def sh(self, execution: int, script: str, **fields: object) -> Result:
        return self.run(execution, "sh", "-c", script, **fields)

    def listed(self) -> dict[int, tuple[int, int]]:
        """Execution id to (pid, state)."""
        records = [EXECUTION.unpack(record) for record in self.ask(Message.LIST).many("execution")]
        return {number: (pid, state) for number, pid, state, _ in records}

    def signal(self, execution: int, number: int, *, tree: bool = False) -> None:
        self.send(Message.SIGNAL, execution, pack(Message.SIGNAL, signal=number, tree=int(tree)))


def raw_frame(type_: int, channel: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame that may lie about its length or be of an unknown type."""
    return (
        struct.pack("<IBBHQQ", len(payload) if length is None else length, type_, 0, 0, channel, 0) + payload
    )
