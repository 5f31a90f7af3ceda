"""An execution as one client sees it: what came, what was consumed, and how to go on after a break."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

import anyio

from vmpool.agent.base import Exit, Output
from vmpool.agent.codec import Frame, ProtocolError, encode, pack, unpack
from vmpool.agent.incoming import Incoming
from vmpool.agent.messages import STDERR, STDIN_WINDOW_BYTES, STDOUT, WINDOW_BYTES, Message, Reason
from vmpool.errors import AgentRefused, InfrastructureFailure

_HALF_WINDOW = WINDOW_BYTES // 2
_STATUS_MAX, _SIGNAL_MAX, _BYTES_MAX = 255, 64, (1 << 63) - 1
"""What a kernel can report, and a database keep: a guest in the agent's place could say anything."""
_KILL = 9


class Link(Protocol):
    """What a process needs of its client."""

    def send(self, frame: bytes) -> bool:
        """Send now if connected; else drop it (False), and `RemoteProcess.resume` makes up for it."""

    def forget(self, process: RemoteProcess, last_words: list[bytes]) -> None:
        """Nothing more is wanted of it: say these frames, now or when connected again."""


class RemoteProcess:
    """Implements `vmpool.agent.base.Process`.

    The reader of the connection calls the `on_*` methods; they never wait.  `request` is the START or ATTACH
    frame that has not been answered yet.  stdin: it was started with a standard input to be written.
    """

    __slots__ = (
        "_closing_stdin",
        "_events",
        "_exit",
        "_failure",
        "_link",
        "_signals",
        "_stderr",
        "_stdin",
        "_stdin_acked",
        "_stdin_sent",
        "_stdin_unacked",
        "_stdout",
        "_waiters",
        "abandoned",
        "already",
        "id",
        "pid",
        "reattaching",
        "request",
        "sent",
        "started",
        "starting",
        "warm",
    )

    def __init__(
        self,
        execution_id: int,
        link: Link,
        request: bytes,
        *,
        starting: bool,
        offsets: tuple[int, int] = (0, 0),
        stdin: bool = False,
    ) -> None:
        self.id = execution_id
        self.pid = 0
        self.already = False
        self.warm = False
        self.request = request
        self.starting = starting
        self.sent = not starting
        self.started = False
        self.reattaching = False
        self.abandoned = False
        self._link = link
        self._stdout = Incoming(STDOUT, "stdout", offsets[0])
        self._stderr = Incoming(STDERR, "stderr", offsets[1])
        self._events: deque[Output] = deque()
        self._exit: Exit | None = None
        self._failure: InfrastructureFailure | None = None
        self._waiters: list[anyio.Event] = []
        self._stdin = stdin
        self._stdin_acked = self._stdin_sent = 0
        self._stdin_unacked = bytearray()
        self._closing_stdin = False
        self._signals: list[bytes] = []

    # -- for the caller

    def events(self) -> AsyncIterator[Output | Exit]:
        """Output in order of arrival, then one Exit.

        Fetching the next event acknowledges the one before.  A second iterator goes on where the first left.
        Raises AgentUnreachable once what had come before the break is consumed.
        """
        return _Events(self)

    @property
    def takes_stdin(self) -> bool:
        """Its standard input is a stream that is open."""
        return self._stdin and not self._closing_stdin

    @property
    def stdin_sent(self) -> int:
        """Bytes of it that need not be sent again."""
        return self._stdin_sent

    async def write_stdin(self, data: bytes) -> None:
        """Send, waiting while the agent holds a full window; AgentRefused `gone` if the program has ended."""
        view = memoryview(data)
        while view:
            if self._closing_stdin:
                raise AgentRefused(Reason.GONE, "standard input was closed before")
            if self._exit is not None:
                raise AgentRefused(Reason.GONE, f"execution {self.id} has ended")
            if self._failure is not None:
                raise self._failure
            room = self._stdin_acked + STDIN_WINDOW_BYTES - self._stdin_sent
            if room <= 0:
                await self._change()
                continue
            chunk = bytes(view[:room])
            view = view[len(chunk) :]
            self._stdin_unacked += chunk
            offset = self._stdin_sent
            self._stdin_sent += len(chunk)
            if self.started:
                self._link.send(encode(Message.STDIN, self.id, chunk, offset=offset))

    async def close_stdin(self) -> None:
        """End of standard input; a second time does nothing."""
        if not self._closing_stdin:
            self._closing_stdin = True
            if self.started:
                self._link.send(encode(Message.STDIN_CLOSE, self.id, offset=self._stdin_sent))

    async def signal(self, number: int, *, tree: bool = False) -> None:
        """Signal the main process, or it and every descendant; nothing for one that has ended."""
        self._signal(number, tree)

    async def release(self) -> None:
        """Let the agent forget it; one that still runs goes on, and its output is dropped."""
        self.abandon(kill=False)

    def abandon(self, *, kill: bool) -> None:
        """Have no more to do with it; with `kill`, its whole tree ends now.  Never waits."""
        if self.abandoned:
            return
        self.abandoned = True
        self._events.clear()
        last_words = []
        if self.sent:
            if kill and self._exit is None:
                payload = pack(Message.SIGNAL, signal=_KILL, tree=1)
                last_words.append(encode(Message.SIGNAL, self.id, payload))
            last_words.append(encode(Message.RELEASE, self.id))
        self._link.forget(self, last_words)
        self.fail(AgentRefused(Reason.GONE, f"execution {self.id} was released"))

    # -- for the client

    @property
    def ended(self) -> bool:
        """Nothing more will come: all output and the end are here, or it is lost."""
        if self._failure is not None:
            return True
        return self._exit is not None and self._stdout.complete() and self._stderr.complete()

    async def wait_started(self) -> None:
        """Until START or ATTACH is answered; raises what it was refused or lost with."""
        while not self.started:
            if self._failure is not None:
                raise self._failure
            await self._change()

    def fail(self, error: InfrastructureFailure) -> None:
        """The execution is out of reach for good (or was never begun)."""
        if not self.ended:
            self._failure = error
            self._changed()

    def resume(self) -> list[bytes]:
        """Frames that put a new connection to the same agent where the broken one was."""
        if not self.started:
            self.sent = True
            return [self.request, *self._take_signals()]
        payload = pack(
            Message.ATTACH, stdout_offset=self._stdout.received, stderr_offset=self._stderr.received
        )
        self.reattaching = True
        frames = [encode(Message.ATTACH, self.id, payload)]
        # The last acknowledgement may have been lost with the connection: the agent would wait for it with a
        # full window, and we for half a window more before the next.
        frames += [
            encode(Message.ACK, self.id, stream=incoming.number, offset=incoming.acked)
            for incoming in (self._stdout, self._stderr)
            if incoming.acked
        ]
        return [*frames, *self._stdin_frames(), *self._take_signals()]

    def on_started(self, frame: Frame) -> None:
        fields = unpack(Message.STARTED, frame.payload)
        self.pid = fields.u64("pid") or self.pid
        self.reattaching = False
        if self.started:
            return
        self.started = True
        self.already = bool(fields.u64("already"))
        self.warm = bool(fields.u64("warm"))
        if self.starting and self.already:
            self._stdout.adrift = self._stderr.adrift = True
        for data in self._stdin_frames():
            self._link.send(data)
        self._changed()

    def on_output(self, frame: Frame) -> None:
        incoming = self._incoming(frame.stream)
        event = incoming.accept(frame)
        if event is not None:
            self._events.append(event)
            self._changed()

    def on_exited(self, frame: Frame) -> None:
        fields = unpack(Message.EXITED, frame.payload)
        status, signal, max_rss = fields.u64("status"), fields.u64("signal"), fields.u64("max_rss_bytes")
        if status > _STATUS_MAX or signal > _SIGNAL_MAX or max_rss > _BYTES_MAX:
            raise ProtocolError(f"an end that cannot be: status {status}, signal {signal}, {max_rss} bytes")
        for incoming, name in ((self._stdout, "stdout_bytes"), (self._stderr, "stderr_bytes")):
            incoming.total = fields.u64(name)
            if incoming.adrift:  # output comes before the end, so another client took it all
                incoming.received = incoming.consumed = incoming.acked = incoming.total
                incoming.adrift = False
        self._exit = Exit(
            status=status,
            signal=signal,
            timed_out=bool(fields.u64("timed_out")),
            cancelled=bool(fields.u64("cancelled")),
            build_failed=bool(fields.u64("build_failed")),
            user_seconds=fields.u64("user_us") / 1e6,
            system_seconds=fields.u64("system_us") / 1e6,
            max_rss=max_rss,
            duration=fields.u64("duration_us") / 1e6,
        )
        self._changed()

    def on_stdin_ack(self, frame: Frame) -> None:
        if not self._stdin_sent and (self.already or not self.starting):  # another client wrote so far
            self._stdin = True
            self._stdin_acked = self._stdin_sent = frame.offset
        if not self._stdin_acked <= frame.offset <= self._stdin_sent:
            if frame.offset < self._stdin_acked:
                return  # an older acknowledgement, repeated after a reconnect
            raise ProtocolError(f"standard input acknowledged to {frame.offset} of {self._stdin_sent}")
        del self._stdin_unacked[: frame.offset - self._stdin_acked]
        self._stdin_acked = frame.offset
        self._changed()

    # -- inside

    def take(self) -> Output | Exit | None:
        """The next event if there is one."""
        if self._events:
            return self._events.popleft()
        if self._failure is not None:
            raise self._failure
        return self._exit if self.ended else None

    def acknowledge(self, output: Output) -> None:
        incoming = self._stdout if output.stream == "stdout" else self._stderr
        self._consumed(incoming, output.offset + len(output.data))

    async def _change(self) -> None:
        event = anyio.Event()
        self._waiters.append(event)
        await event.wait()

    def _changed(self) -> None:
        if self._waiters:
            for event in self._waiters:
                event.set()
            self._waiters.clear()

    def _signal(self, number: int, tree: bool) -> None:
        if not self.sent or self._exit is not None or self._failure is not None:
            return
        frame = encode(Message.SIGNAL, self.id, pack(Message.SIGNAL, signal=number, tree=int(tree)))
        if not self._link.send(frame):
            self._signals.append(frame)

    def _take_signals(self) -> list[bytes]:
        """Signals asked for while there was no connection."""
        signals, self._signals = self._signals, []
        return signals

    def _incoming(self, stream: int) -> Incoming:
        if stream == STDOUT:
            return self._stdout
        if stream == STDERR:
            return self._stderr
        raise ProtocolError(f"output of a stream {stream}")

    def _consumed(self, incoming: Incoming, offset: int) -> None:
        incoming.consumed = max(incoming.consumed, offset)
        if incoming.consumed - incoming.acked >= _HALF_WINDOW:
            incoming.acked = incoming.consumed
            self._link.send(encode(Message.ACK, self.id, stream=incoming.number, offset=incoming.acked))

    def _stdin_frames(self) -> list[bytes]:
        """What of standard input the agent has not acknowledged; it drops what it holds already."""
        frames = []
        if self._stdin_unacked:
            frames.append(
                encode(Message.STDIN, self.id, bytes(self._stdin_unacked), offset=self._stdin_acked)
            )
        if self._closing_stdin:
            frames.append(encode(Message.STDIN_CLOSE, self.id, offset=self._stdin_sent))
        return frames


class _Events:
    """The iterator behind `RemoteProcess.events`; a class, because a generator left half way is a leak."""

    __slots__ = ("_ended", "_last", "_process")

    def __init__(self, process: RemoteProcess) -> None:
        self._process = process
        self._last: Output | None = None
        self._ended = False

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Output | Exit:
        if self._ended:
            raise StopAsyncIteration
        if self._last is not None:
            self._process.acknowledge(self._last)
            self._last = None
        while (event := self._process.take()) is None:
            await self._process._change()
        if isinstance(event, Output):
            self._last = event
        else:
            self._ended = True
        return event
