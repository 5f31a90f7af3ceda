"""A guest agent in Python: the protocol of the real one over scripted programs and a dictionary of files."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from vmpool.agent.codec import EXECUTION, Decoder, Frame, ProtocolError, encode, pack, unpack
from vmpool.agent.connection import STREAM_ERRORS
from vmpool.agent.messages import AGENT_CHANNELS, GENERATION, SINCE, Message, Reason
from vmpool.backends.fake.execution import Execution
from vmpool.backends.fake.file_verbs import MESSAGES as FILE_MESSAGES
from vmpool.backends.fake.file_verbs import FileVerbs
from vmpool.backends.fake.files import Files
from vmpool.backends.fake.network import FakeNetwork
from vmpool.backends.fake.wire import MemoryStream

_REASONS: dict[type[OSError], str] = {
    FileNotFoundError: Reason.NOT_FOUND,
    PermissionError: Reason.PERMISSION,
    IsADirectoryError: Reason.NOT_A_FILE,
    FileExistsError: Reason.BAD_REQUEST,
}
CHANNEL_MESSAGES = range(Message.CHANNEL_CONNECT, Message.CHANNEL_RESET + 1)


class FakeAgent:
    """PID 1 of one fake machine, from one start of it to its end.

    generation: what it answers to HELLO, to play an old agent.  warmed: spares asked for, by name.
    network: where a test plays the programs that use the network.
    """

    def __init__(
        self,
        files: Files,
        hostname: str,
        tasks: TaskGroup,
        ended: Callable[[], None],
        generation: int = GENERATION,
    ) -> None:
        self.files = files
        self.executions: dict[int, Execution] = {}
        self.warmed: dict[str, int] = {}
        self.boot_id = secrets.randbits(63)
        self.generation = generation
        self.started_executions = 0
        self.hostname = hostname
        self.network = FakeNetwork(tasks)
        self._tasks = tasks
        self._on_end = ended
        self._began = anyio.current_time()
        self._next_pid = 2
        self._sessions: set[_Session] = set()
        self._held: anyio.Event | None = None

    def hold(self) -> None:
        """Answer nothing until it is let go."""
        self._held = self._held or anyio.Event()

    def let_go(self) -> None:
        """Answer again, first what was asked meanwhile."""
        held, self._held = self._held, None
        if held is not None:
            held.set()

    async def going(self) -> None:
        """While it is not held."""
        while self._held is not None:
            await self._held.wait()

    def accept(self, stream: MemoryStream) -> None:
        """Serve one connection until it ends."""
        session = _Session(self, stream)
        self._sessions.add(session)
        self._tasks.start_soon(self._serve, session)

    def cut(self) -> None:
        """Break every connection; executions go on."""
        for session in self._sessions:
            session.stream.cut()

    async def _serve(self, session: _Session) -> None:
        try:
            await session.run()
        finally:
            self._sessions.discard(session)
            self.network.detach(session)
            for execution in self.executions.values():
                execution.detach(session.send)

    def start(self, session: _Session, frame: Frame) -> None:
        execution = self.executions.get(frame.channel)
        if execution is not None:
            execution.attach(session.send, None, already=True)
            return
        execution = Execution(
            frame.channel, unpack(Message.START, frame.payload), self.files, self.hostname, self._next_pid
        )
        if not execution.argv:
            session.fail(frame, Reason.BAD_REQUEST, "argv is empty")
            return
        try:
            execution.prepare()
        except OSError as error:
            session.fail(frame, _REASONS.get(type(error), Reason.IO_ERROR), str(error), error.errno)
            return
        self._next_pid += 1
        self.started_executions += 1
        self.executions[execution.id] = execution
        execution.attach(session.send, None, already=False)
        self._tasks.start_soon(self._run, execution)

    async def _run(self, execution: Execution) -> None:
        await execution.run()
        if execution.released:
            self.executions.pop(execution.id, None)

    def release(self, execution: Execution) -> None:
        execution.release()
        if not execution.running:
            del self.executions[execution.id]

    def listing(self) -> list[bytes]:
        return [
            EXECUTION.pack(
                execution.id,
                execution.pid if execution.running else 0,
                1 if execution.running else 2,
                int((execution.started - self._began) * 1e6),
            )
            for execution in self.executions.values()
        ]

    def stats(self) -> bytes:
        running = sum(execution.running for execution in self.executions.values())
        return pack(
            Message.STATS_OK,
            processes=1 + running,
            executions=len(self.executions),
            connections=len(self._sessions),
            uptime_us=int((anyio.current_time() - self._began) * 1e6),
        )

    def shutdown(self, grace: float) -> None:
        self._tasks.start_soon(self._shutdown, grace)

    async def _shutdown(self, grace: float) -> None:
        for execution in self.executions.values():
            execution.kill(15, cancelled=True)
        with anyio.move_on_after(grace):
            for execution in list(self.executions.values()):
                await execution.over.wait()
        self._on_end()


class _Session:
    """One connection of the agent."""

    def __init__(self, agent: FakeAgent, stream: MemoryStream) -> None:
        self.stream = stream
        self._agent = agent
        self._outgoing: deque[bytes] = deque()
        self._writable = anyio.Event()
        self._files = FileVerbs(agent.files, self.reply, self.fail, self.send)

    def send(self, frame: bytes) -> None:
        self._outgoing.append(frame)
        self._writable.set()

    def reply(self, frame: Frame, message: Message, payload: bytes = b"") -> None:
        self.send(encode(message, frame.channel, payload))

    def fail(self, frame: Frame, reason: str, message: str, errno: int | None = None) -> None:
        payload = pack(Message.FAILED, reason=reason, message=message, errno=errno)
        self.send(encode(Message.FAILED, frame.channel, payload))

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write)
            decoder = Decoder()
            try:
                while True:
                    for frame in decoder.feed(await self.stream.receive()):
                        await self._agent.going()
                        self._handle(frame)
            except (*STREAM_ERRORS, ProtocolError):
                tasks.cancel_scope.cancel()
            finally:
                self._files.close()
                self.stream.cut()

    async def _write(self) -> None:
        try:
            while True:
                await self._writable.wait()
                self._writable = anyio.Event()
                while self._outgoing:
                    await self.stream.send(self._outgoing.popleft())
        except STREAM_ERRORS:
            await anyio.aclose_forcefully(self.stream)

    def _handle(self, frame: Frame) -> None:
        agent = self._agent
        if frame.type in SINCE and SINCE[Message(frame.type)] > agent.generation:
            self.fail(frame, Reason.UNKNOWN_MESSAGE, f"message {frame.type} is not known")
            return
        if frame.channel >= AGENT_CHANNELS and frame.type in CHANNEL_MESSAGES:
            agent.network.on_frame(self, frame)
            return
        match frame.type:
            case Message.HELLO:
                hello = pack(
                    Message.HELLO_OK,
                    generation=min(
                        agent.generation, unpack(Message.HELLO, frame.payload).u64("generation", 1)
                    ),
                    boot_id=agent.boot_id,
                    pid=1,
                    agent_version="fake",
                )
                self.reply(frame, Message.HELLO_OK, hello)
            case Message.PING:
                self.reply(frame, Message.PONG)
            case Message.LIST:
                self.reply(frame, Message.LISTED, pack(Message.LISTED, execution=agent.listing()))
            case Message.STATS:
                self.reply(frame, Message.STATS_OK, agent.stats())
            case Message.WARM:
                warm = unpack(Message.WARM, frame.payload)
                agent.warmed[warm.text("name")] = warm.u64("spares")
                self.reply(frame, Message.DONE)
            case Message.LISTEN:
                agent.network.on_listen(self, frame.payload)
                self.reply(frame, Message.DONE)
            case Message.SHUTDOWN:
                self.reply(frame, Message.DONE)
                agent.shutdown(unpack(Message.SHUTDOWN, frame.payload).u64("grace_ms") / 1000)
            case kind if kind in FILE_MESSAGES:
                self._files.handle(frame)
            case Message.START:
                agent.start(self, frame)
            case Message.RESIZE:
                self._resize(frame)
            case (
                Message.ATTACH
                | Message.ACK
                | Message.STDIN
                | Message.STDIN_CLOSE
                | Message.SIGNAL
                | Message.RELEASE
            ):
                self._execution(frame)
            case _:
                self.fail(frame, Reason.UNKNOWN_MESSAGE, f"message {frame.type} is not known")

    def _resize(self, frame: Frame) -> None:
        fields = unpack(Message.RESIZE, frame.payload)
        execution = self._agent.executions.get(fields.u64("execution"))
        if execution is None:
            self.fail(frame, Reason.UNKNOWN_EXECUTION, "no such execution")
        elif not execution.terminal or not execution.running:
            self.fail(frame, Reason.NOT_SUPPORTED, "it has no terminal")
        else:
            execution.terminal = fields.u64("terminal")
            self.reply(frame, Message.DONE)

    def _execution(self, frame: Frame) -> None:
        execution = self._agent.executions.get(frame.channel)
        if execution is None:
            if frame.type in (Message.ATTACH, Message.SIGNAL):
                self.fail(frame, Reason.UNKNOWN_EXECUTION, f"no execution {frame.channel}")
            return
        match frame.type:
            case Message.ATTACH:
                fields = unpack(Message.ATTACH, frame.payload)
                offsets = (fields.u64("stdout_offset"), fields.u64("stderr_offset"))
                if not execution.attach(self.send, offsets, already=True):
                    self.fail(frame, Reason.BAD_REQUEST, "output before the offset was acknowledged")
            case Message.ACK:
                execution.acknowledge(frame.stream, frame.offset)
            case Message.STDIN:
                execution.feed(frame)
            case Message.STDIN_CLOSE:
                execution.close_stdin()
            case Message.SIGNAL:
                fields = unpack(Message.SIGNAL, frame.payload)
                execution.kill(fields.u64("signal"), cancelled=bool(fields.u64("tree")))
            case Message.RELEASE:
                self._agent.release(execution)
