"""One machine's agent over a connection that is re-made when it breaks.

All executions and requests of a machine share one stream.  When it breaks, the client dials again with
growing pauses for at most `patience` seconds, attaches to its executions at the offsets it holds and repeats
what was not answered: every message that is repeated is idempotent.  Nobody's output is lost or doubled.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.abc import ByteStream, TaskGroup

from vmpool.agent.base import ProcessSpec
from vmpool.agent.codec import EXECUTION, Fields, Frame, ProtocolError, encode, pack, unpack
from vmpool.agent.connection import STREAM_ERRORS, Connection
from vmpool.agent.messages import SINCE, Message, Reason
from vmpool.agent.process import RemoteProcess
from vmpool.agent.start import environment, start_frame
from vmpool.errors import (
    AgentRefused,
    AgentTooOld,
    AgentUnreachable,
    InfrastructureFailure,
    InvalidRequest,
    VMPoolError,
)

Dial = Callable[[], Awaitable[ByteStream]]
"""Opens a fresh byte stream to the agent; usually a backend's `dial` with its key."""

DEFAULT_PATIENCE: Final = 10.0
"""Seconds a broken connection is re-tried before its users are told."""
MAX_FILE_BYTES: Final = 256 << 20
"""The largest file `read_file` reads unless told otherwise: it is held in memory."""
_NOT_RUNNING_PATIENCE = 1.0
"""Seconds of re-trying once the backend itself says that the machine does not answer."""
_FILE_CHUNK_BYTES = 512 << 10
_REQUEST_CHANNELS = 1 << 63
"""Requests and executions share the channel field; an execution's id is a row's id and far below."""


class _Request:
    """A question on its way, repeated on a new connection; a `volatile` one then counts as done."""

    __slots__ = ("done", "failure", "frame", "message", "reply", "sent", "volatile")

    def __init__(self, message: Message, frame: bytes, *, volatile: bool) -> None:
        self.message = message
        self.frame = frame
        self.volatile = volatile
        self.sent = False
        self.done = anyio.Event()
        self.reply: Frame | None = None
        self.failure: VMPoolError | None = None

    def fail(self, error: VMPoolError) -> None:
        self.failure = error
        self.done.set()


class Client:
    """Implements `vmpool.agent.base.AgentClient`; `run` must be running for anything to happen.

    `open_client` does both for a block of code; a pool starts `run` in its own task group.
    """

    def __init__(self, dial: Dial, *, patience: float = DEFAULT_PATIENCE) -> None:
        self._dial = dial
        self._patience = patience
        self._connection: Connection | None = None
        self._boot_id: int | None = None
        self._processes: dict[int, RemoteProcess] = {}
        self._requests: dict[int, _Request] = {}
        self._releases: set[int] = set()
        self._channels = itertools.count(_REQUEST_CHANNELS + 1)
        self._demand = anyio.Event()
        self._scope: anyio.CancelScope | None = None
        self._tasks: TaskGroup | None = None
        self._closed = False
        self._ended = anyio.Event()

    @property
    def connected(self) -> bool:
        """A stream to the agent is up at this moment."""
        return self._connection is not None

    # -- the AgentClient interface

    async def start(self, execution_id: int, spec: ProcessSpec) -> RemoteProcess:
        """Start it, or attach to it when this id was started before; cancelling this undoes the start."""
        process = self._processes.get(execution_id)
        if process is None:
            frame, feed = start_frame(execution_id, spec)
            process = self._enter(RemoteProcess(execution_id, self, frame, starting=True))
            try:
                await process.wait_started()
            except anyio.get_cancelled_exc_class():
                process.abandon(kill=True)
                raise
            except BaseException:
                self._processes.pop(execution_id, None)
                raise
            if feed is not None and self._tasks is not None:
                self._tasks.start_soon(_feed, process, feed)
        else:
            await process.wait_started()
        return process

    async def attach(
        self, execution_id: int, *, stdout_offset: int = 0, stderr_offset: int = 0
    ) -> RemoteProcess:
        """Attach to an execution an earlier client started, from offsets not before its last ACK."""
        process = self._processes.get(execution_id)
        if process is None:
            offsets = (stdout_offset, stderr_offset)
            payload = pack(Message.ATTACH, stdout_offset=stdout_offset, stderr_offset=stderr_offset)
            frame = encode(Message.ATTACH, execution_id, payload)
            process = self._enter(RemoteProcess(execution_id, self, frame, starting=False, offsets=offsets))
            try:
                await process.wait_started()
            except BaseException:
                self._processes.pop(execution_id, None)
                raise
        else:
            await process.wait_started()
        return process

    async def executions(self) -> list[tuple[int, bool]]:
        """Ids the agent knows, each with whether it is still running."""
        fields = await self._ask(Message.LIST, b"", Message.LISTED)
        found = []
        for record in fields.many("execution"):
            if len(record) != EXECUTION.size:
                raise AgentUnreachable("the agent's list of executions is malformed")
            execution_id, _, state, _ = EXECUTION.unpack(record)
            found.append((execution_id, state == 1))
        return found

    async def read_file(self, path: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
        """The whole file.

        Raises AgentRefused `not_found`, `permission`, `not_a_file`, and InvalidRequest over `limit` bytes.
        """
        parts: list[bytes] = []
        position = 0
        while True:
            payload = pack(
                Message.FILE_READ, path=os.fsencode(path), offset=position, length=_FILE_CHUNK_BYTES
            )
            fields = await self._ask(Message.FILE_READ, payload, Message.FILE_DATA)
            data, size = fields.raw("data"), fields.u64("size")
            position += len(data)
            if max(position, size) > limit:
                raise InvalidRequest("path", f"'{path}' is larger than {limit} bytes")
            parts.append(data)
            if not data or position >= size > 0:  # files in /proc say 0
                return b"".join(parts)

    async def write_file(self, path: str, data: bytes, *, mode: int = 0o644, parents: bool = False) -> None:
        """Replace the file's content."""
        for position in range(0, len(data) or 1, _FILE_CHUNK_BYTES):
            payload = pack(
                Message.FILE_WRITE,
                path=os.fsencode(path),
                offset=position,
                truncate=int(position == 0),
                mode=mode,
                data=data[position : position + _FILE_CHUNK_BYTES],
                parents=int(parents),
            )
            await self._ask(Message.FILE_WRITE, payload, Message.DONE)

    async def warm(
        self, name: str, argv: tuple[str, ...], env: Mapping[str, str], *, strategy: str, spares: int
    ) -> None:
        """Make or change a warm interpreter."""
        payload = pack(
            Message.WARM,
            name=name,
            argv=[os.fsencode(word) for word in argv],
            env=environment(env),
            cwd=b"/home/user",
            strategy=strategy,
            spares=spares,
        )
        await self._ask(Message.WARM, payload, Message.DONE)

    async def stats(self) -> Fields:
        """The agent's own figures: `processes`, `executions`, `connections`, `uptime_us`."""
        return await self._ask(Message.STATS, b"", Message.STATS_OK)

    async def ping(self) -> None:
        """One round trip."""
        await self._ask(Message.PING, b"", Message.PONG)

    async def shutdown(self, grace: float) -> None:
        """TERM to all, KILL after `grace` seconds, then the agent ends, and its stream with it."""
        payload = pack(Message.SHUTDOWN, grace_ms=max(0, int(grace * 1000)))
        await self._ask(Message.SHUTDOWN, payload, Message.DONE, volatile=True)

    async def aclose(self) -> None:
        """Close the connection; executions go on."""
        self._closed = True
        if self._scope is not None:
            self._scope.cancel()
            await self._ended.wait()

    # -- the life of the connection

    async def run(self) -> None:
        """Keep the client connected while somebody needs it, until `aclose`."""
        if self._closed:
            return
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks, self._scope = tasks, tasks.cancel_scope
                while True:
                    connection = await self._connect()
                    if connection is not None:
                        await self._serve(connection)
                    if not self._needed():
                        self._demand = anyio.Event()
                        await self._demand.wait()
        finally:
            self._closed = True
            self._tasks = None
            self._fail_all("the connection to the agent was closed")
            self._ended.set()

    async def _connect(self) -> Connection | None:
        """A fresh connection; None, with everybody told, when there is none to be had in time."""
        deadline = anyio.current_time() + self._patience
        pause = 0.01
        while True:
            try:
                with anyio.fail_after(max(0.0, deadline - anyio.current_time())):
                    return await Connection.open(await self._dial())
            except AgentUnreachable as error:
                cause: Exception = error
                deadline = min(deadline, anyio.current_time() + _NOT_RUNNING_PATIENCE)
            except (VMPoolError, ProtocolError, *STREAM_ERRORS) as error:
                cause = error
            if anyio.current_time() + pause > deadline:
                self._fail_all(f"the agent cannot be reached: {str(cause) or type(cause).__name__}")
                return None
            await anyio.sleep(pause * random.uniform(0.7, 1.0))
            pause = min(pause * 2, 1.0)

    async def _serve(self, connection: Connection) -> None:
        self._resume(connection)
        self._connection = connection
        try:
            await connection.serve(self._on_frame)
        finally:
            self._connection = None
            for request in self._requests.values():
                if request.sent and request.volatile:
                    request.done.set()

    def _resume(self, connection: Connection) -> None:
        """Say on a new connection what the broken one left open."""
        if self._boot_id not in (None, connection.boot_id):
            self._releases.clear()
            for process in [process for process in self._processes.values() if process.sent]:
                process.fail(
                    AgentUnreachable(
                        "the machine was restarted while the execution ran", dispatch="outcome_unknown"
                    )
                )
                if process.abandoned:
                    self.forget(process)
        self._boot_id = connection.boot_id
        for execution_id in self._releases:
            connection.send(encode(Message.RELEASE, execution_id))
        self._releases.clear()
        for process in self._processes.values():
            if not process.ended:
                for frame in process.resume():
                    connection.send(frame)
        for request in list(self._requests.values()):
            self._put(connection, request)

    def _needed(self) -> bool:
        return bool(self._requests) or any(not process.ended for process in self._processes.values())

    def _fail_all(self, message: str) -> None:
        for process in list(self._processes.values()):
            if not process.ended:
                process.fail(
                    AgentUnreachable(
                        message, dispatch="outcome_unknown" if process.sent else "never_dispatched"
                    )
                )
                if process.abandoned:
                    self.forget(process)
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

    def forget(self, process: RemoteProcess) -> None:
        """Part of `process.Link`."""
        if self._processes.pop(process.id, None) is None or not process.finished:
            return
        if not self.send(encode(Message.RELEASE, process.id)):
            self._releases.add(process.id)

    def _enter(self, process: RemoteProcess) -> RemoteProcess:
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

    async def _ask(
        self, message: Message, payload: bytes, expected: Message, *, volatile: bool = False
    ) -> Fields:
        """One request and its answer; AgentRefused for FAILED."""
        self._check_open()
        channel = next(self._channels)
        request = _Request(message, encode(message, channel, payload), volatile=volatile)
        self._requests[channel] = request
        try:
            if self._connection is not None:
                self._put(self._connection, request)
            else:
                self._demand.set()
            await request.done.wait()
        finally:
            del self._requests[channel]
        if request.failure is not None:
            raise request.failure
        if request.reply is None:  # volatile, and the stream ended with the agent
            return Fields({})
        if request.reply.type != expected:
            raise AgentUnreachable(f"the agent answered {message.name} with message {request.reply.type}")
        return unpack(expected, request.reply.payload)

    def _put(self, connection: Connection, request: _Request) -> None:
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
                    request.fail(_refusal(frame))
                else:
                    if frame.type in _REPLIES:
                        unpack(Message(frame.type), frame.payload)  # a malformed one ends the connection
                    request.reply = frame
                    request.done.set()
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
                self._on_failed(process, _refusal(frame))

    def _on_failed(self, process: RemoteProcess, refusal: AgentRefused) -> None:
        """START or ATTACH was refused; a signal to one that has just ended is nobody's concern."""
        if not process.started:
            process.fail(refusal)
        elif refusal.reason == Reason.UNKNOWN_EXECUTION and process.reattaching:
            process.fail(AgentUnreachable("the agent lost the execution", dispatch="outcome_unknown"))
        if process.abandoned and process.ended:
            self.forget(process)


_REPLIES = frozenset({Message.LISTED, Message.FILE_DATA, Message.DONE, Message.STATS_OK, Message.PONG})


def _refusal(frame: Frame) -> AgentRefused:
    fields = unpack(Message.FAILED, frame.payload)
    number = fields.u64("errno")
    return AgentRefused(fields.text("reason"), fields.text("message"), number or None)


async def _feed(process: RemoteProcess, data: bytes) -> None:
    """Hand a fixed standard input to a program that may end, or be lost, before reading it all."""
    try:
        await process.write_stdin(data)
        await process.close_stdin()
    except InfrastructureFailure:
        return


@asynccontextmanager
async def open_client(dial: Dial, *, patience: float = DEFAULT_PATIENCE) -> AsyncIterator[Client]:
    """A running client for a block of code.

    patience: seconds for which a broken connection is re-tried.  What the block raises comes out as it is,
    not wrapped in a group.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as tasks:
        client = Client(dial, patience=patience)
        tasks.start_soon(client.run)
        try:
            yield client
        except Exception as error:
            failure = error
        finally:
            client._closed = True
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
