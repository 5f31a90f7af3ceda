"""The link to one agent: a connection that is re-made when it breaks, and what must survive the break."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

import anyio
from anyio.abc import ByteStream, TaskGroup

from vmpool.agent.codec import Fields, Frame, ProtocolError, encode, unpack
from vmpool.agent.connection import STREAM_ERRORS, Connection
from vmpool.agent.messages import AGENT_CHANNELS, SINCE, Message
from vmpool.agent.network import Network, listen_payload
from vmpool.agent.process import RemoteProcess
from vmpool.agent.question import REPLIES, Question, Request, refusal
from vmpool.errors import AgentRefused, AgentTooOld, AgentUnreachable, VMPoolError

Dial = Callable[[], Awaitable[ByteStream]]
"""Opens a fresh byte stream to the agent; usually a backend's `dial` with its key."""

DEFAULT_PATIENCE: Final = 10.0
"""Seconds a broken connection is re-tried before its users are told."""
_NOT_RUNNING_PATIENCE = 1.0
"""Seconds of re-trying once the backend itself says that the machine does not answer."""
_NETWORK_PATIENCE = 5.0
"""Seconds between series of re-tries while nothing but the machine's network needs the connection."""
_REQUEST_CHANNELS = 1 << 63
"""Requests and executions share the channel field; an execution's id is a row's id and far below."""


class _Attempt:
    """Being without a connection: when it began, how long it may last, and pauses that grow."""

    def __init__(self, patience: float) -> None:
        self._deadline = anyio.current_time() + patience
        self._pause = 0.0
        self.cause = "no time was left"

    @property
    def left(self) -> float:
        return max(0.0, self._deadline - anyio.current_time())

    def failed(self, cause: Exception) -> None:
        self.cause = str(cause) or type(cause).__name__

    def shorten(self, seconds: float) -> None:
        self._deadline = min(self._deadline, anyio.current_time() + seconds)

    async def pause(self) -> bool:
        """Wait before the next try (not before the first); False when the time is up."""
        if self._pause:
            if self._pause > self.left:
                return False
            await anyio.sleep(self._pause * random.uniform(0.7, 1.0))
        self._pause = min(max(0.01, self._pause * 2), 1.0)
        return True


class LinkEvent(StrEnum):
    """What became of a try to be connected."""

    CONNECTED = "first"
    RECONNECTED = "replacing"
    UNREACHABLE = "unreachable"  # the tries are over, and whoever waited was told


def unwatched(event: LinkEvent) -> None:
    """Nobody wants to know."""


class AgentLink:
    """Processes and requests on their way, over whatever connection there is.  `run` keeps it connected."""

    def __init__(self, dial: Dial, patience: float, watch: Callable[[LinkEvent], None] = unwatched) -> None:
        self._dial = dial
        self._watch = watch
        self._patience = patience
        self._connection: Connection | None = None
        self._boot_id: int | None = None
        self._processes: dict[int, RemoteProcess] = {}
        self._requests: dict[int, Request] = {}
        self._last_words: list[bytes] = []
        self._channels = itertools.count(_REQUEST_CHANNELS + 1)
        self._demand = anyio.Event()
        self._scope: anyio.CancelScope | None = None
        self._closed = False
        self._held = False
        self._ended = anyio.Event()
        self.tasks: TaskGroup | None = None
        self.network = Network()

    @property
    def connected(self) -> bool:
        """A stream to the agent is up at this moment."""
        return self._connection is not None

    def hold(self, held: bool) -> None:
        """Whether the agent is known to be silent, which is no fault then."""
        self._held = held
        if self._connection is not None:
            self._connection.held = held

    def close(self) -> None:
        """Begin to close: nothing new is taken, `run` ends."""
        self._closed = True
        if self._scope is not None:
            self._scope.cancel()

    async def aclose(self) -> None:
        """Close, and wait for `run` to end."""
        self.close()
        if self._scope is not None:
            await self._ended.wait()

    def drop(self, process: RemoteProcess) -> None:
        """The execution was never ours: its start or attach failed."""
        self._processes.pop(process.id, None)

    def process(self, execution_id: int) -> RemoteProcess | None:
        """The execution this link is attached to."""
        return self._processes.get(execution_id)

    async def run(self) -> None:
        """Keep the client connected while somebody needs it, until `aclose`."""
        if self._closed:
            return
        try:
            async with anyio.create_task_group() as tasks:
                self.tasks, self._scope = tasks, tasks.cancel_scope
                attempt = _Attempt(self._patience)
                while True:
                    connection = await self._connect(attempt)
                    if connection is None or await self._serve(connection):
                        attempt = _Attempt(self._patience)
                    if not self._needed():
                        await self._wait_for_demand(connection)
                        attempt = _Attempt(self._patience)
        finally:
            self._closed = True
            self.tasks = None
            self.network.close()
            self._fail_all("the connection to the agent was closed")
            self._ended.set()

    async def _wait_for_demand(self, connection: Connection | None) -> None:
        """Until somebody needs a connection; the machine's network always does, but not at any cost."""
        self._demand = anyio.Event()
        if not self.network.listen:
            await self._demand.wait()
        elif connection is None:
            with anyio.move_on_after(_NETWORK_PATIENCE):
                await self._demand.wait()

    async def _connect(self, attempt: _Attempt) -> Connection | None:
        """A fresh connection; None, with everybody told, when there is none to be had in time."""
        while await attempt.pause():
            try:
                with anyio.fail_after(attempt.left):
                    return await Connection.open(await self._dial())
            except AgentUnreachable as error:
                attempt.failed(error)
                attempt.shorten(_NOT_RUNNING_PATIENCE)
            except (VMPoolError, ProtocolError, *STREAM_ERRORS) as error:
                attempt.failed(error)
        self._watch(LinkEvent.UNREACHABLE)
        self._fail_all(f"the agent cannot be reached: {attempt.cause}")
        return None

    async def _serve(self, connection: Connection) -> bool:
        """Use the connection until it breaks; whether it was of any use."""
        self._watch(LinkEvent.CONNECTED if self._boot_id is None else LinkEvent.RECONNECTED)
        self._resume(connection)
        self._connection, connection.held = connection, self._held
        self.network.connected(connection)
        try:
            reason = await connection.serve(self._on_frame)
        finally:
            self._connection = None
            self.network.disconnected()
            for request in self._requests.values():
                request.disconnected()
        return connection.heard and not isinstance(reason, ProtocolError)

    def _resume(self, connection: Connection) -> None:
        """Say on a new connection what the broken one left open."""
        if self._boot_id not in (None, connection.boot_id):
            self._last_words.clear()
            for process in [process for process in self._processes.values() if process.sent]:
                process.fail(
                    AgentUnreachable(
                        "the machine was restarted while the execution ran", dispatch="outcome_unknown"
                    )
                )
        self._boot_id = connection.boot_id
        for frame in self._last_words:
            connection.send(frame)
        self._last_words.clear()
        self._listen(connection)
        for process in self._processes.values():
            if not process.ended:
                for frame in process.resume():
                    connection.send(frame)
        for request in list(self._requests.values()):
            if request.message != Message.LISTEN and not request.done.is_set():
                self._put(connection, request)

    def _listen(self, connection: Connection) -> None:
        """Before any program starts on this connection, which might ask for a name at once."""
        asked = [request for request in self._requests.values() if request.message == Message.LISTEN]
        for request in asked:
            self._put(connection, request)
        if self.network.listen and not asked and connection.generation >= SINCE[Message.LISTEN]:
            listen = listen_payload(self.network.listen)
            connection.send(encode(Message.LISTEN, next(self._channels), listen))

    def _needed(self) -> bool:
        asked = any(not request.done.is_set() for request in self._requests.values())
        return bool(asked or self._last_words) or any(
            not process.ended for process in self._processes.values()
        )

    def _fail_all(self, message: str) -> None:
        self._last_words.clear()
        for process in list(self._processes.values()):
            if not process.ended:
                process.fail(
                    AgentUnreachable(
                        message, dispatch="outcome_unknown" if process.sent else "never_dispatched"
                    )
                )
        for request in self._requests.values():
            if not request.done.is_set():
                request.fail(AgentUnreachable(message))

    # -- frames

    def send(self, frame: bytes) -> bool:
        """Part of `process.Link`."""
        if self._connection is None:
            return False
        self._connection.send(frame)
        return True

    def forget(self, process: RemoteProcess, last_words: list[bytes]) -> None:
        """Part of `process.Link`."""
        self._processes.pop(process.id, None)
        if not last_words:
            return
        if self._connection is None:
            self._last_words += last_words
            self._demand.set()
        else:
            for frame in last_words[:-1]:
                self._connection.send(frame)
            self._connection.send_lazily(last_words[-1])

    def enter(self, process: RemoteProcess) -> RemoteProcess:
        self._check_open()
        self._processes[process.id] = process
        if self._connection is not None:
            process.sent = True
            self._connection.send(process.request)
        else:
            self._demand.set()
        return process

    def _check_open(self) -> None:
        if self._closed:
            raise AgentUnreachable("the connection to the agent was closed")

    async def ask(
        self, message: Message, payload: bytes, expected: Message, *, volatile: bool = False
    ) -> Fields:
        """One request and its answer; AgentRefused for FAILED."""
        return await self.question(message, payload, expected, volatile=volatile).wait()

    def question(
        self,
        message: Message,
        payload: bytes,
        expected: Message,
        *,
        volatile: bool = False,
        once: bool = False,
    ) -> Question:
        """The same without waiting: several can be on their way, and are answered in order."""
        self._check_open()
        channel = next(self._channels)
        request = Request(message, encode(message, channel, payload), volatile=volatile, once=once)
        self._requests[channel] = request
        if self._connection is not None:
            self._put(self._connection, request)
        else:
            self._demand.set()
        return Question(self._requests, channel, expected)

    async def reach(self, message: Message) -> None:
        """Wait for a connection to an agent that knows `message`."""
        if self._connection is None:
            await self.ask(Message.PING, b"", Message.PONG)
        if self._connection is not None and self._connection.generation < SINCE[message]:
            raise AgentTooOld(SINCE[message], self._connection.generation)

    def _put(self, connection: Connection, request: Request) -> None:
        needed = SINCE[request.message]
        if needed > connection.generation:
            request.fail(AgentTooOld(needed, connection.generation))
        else:
            request.sent = True
            connection.send(request.frame)

    def _on_frame(self, frame: Frame) -> None:
        if frame.channel >= _REQUEST_CHANNELS:
            request = self._requests.get(frame.channel)
            if request is not None and not request.done.is_set():
                if frame.type == Message.FAILED:
                    request.fail(refusal(frame))
                else:
                    if frame.type in REPLIES:
                        unpack(Message(frame.type), frame.payload)  # a malformed one ends the connection
                    request.reply = frame
                    request.done.set()
            return
        if frame.channel >= AGENT_CHANNELS:
            self.network.on_frame(frame)
            return
        process = self._processes.get(frame.channel)
        if process is None:
            return
        match frame.type:
            case Message.OUTPUT:
                process.on_output(frame)
            case Message.STARTED:
                process.on_started(frame)
            case Message.EXITED:
                process.on_exited(frame)
            case Message.STDIN_ACK:
                process.on_stdin_ack(frame)
            case Message.FAILED:
                self._on_failed(process, refusal(frame))

    def _on_failed(self, process: RemoteProcess, refusal: AgentRefused) -> None:
        """START or ATTACH was refused; a signal to one that has just ended is nobody's concern."""
        if not process.started:
            process.fail(refusal)
        elif process.reattaching:
            process.fail(AgentUnreachable(f"the execution is lost: {refusal}", dispatch="outcome_unknown"))
