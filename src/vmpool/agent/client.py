"""One machine's agent over a connection that is re-made when it breaks.

All executions and requests of a machine share one stream.  When it breaks, the client dials again with
growing pauses for at most `patience` seconds, attaches to its executions at the offsets it holds and repeats
what was not answered: every message that is repeated is idempotent.  Nobody's output is lost or doubled.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio

from vmpool.agent.base import NetworkListen, ProcessSpec
from vmpool.agent.channel import AcceptedChannel, Channel
from vmpool.agent.codec import EXECUTION, Fields, encode, pack
from vmpool.agent.files import AgentFiles
from vmpool.agent.link import DEFAULT_PATIENCE, AgentLink, Dial, LinkEvent, unwatched
from vmpool.agent.messages import Message, Reason
from vmpool.agent.network import listen_payload
from vmpool.agent.process import RemoteProcess
from vmpool.agent.start import environment, start_frame, terminal_number
from vmpool.domain import TerminalSize
from vmpool.errors import AgentRefused, AgentTooOld, AgentUnreachable, InfrastructureFailure, InvalidRequest

MAX_FILE_BYTES: Final = 256 << 20
"""The largest file `read_file` reads unless told otherwise: it is held in memory."""
_FILE_CHUNK_BYTES = 512 << 10


class Client:
    """Implements `vmpool.agent.base.AgentClient`; `run` must be running for anything to happen.

    `open_client` does both for a block of code; a pool starts `run` in its own task group.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        patience: float = DEFAULT_PATIENCE,
        watch: Callable[[LinkEvent], None] = unwatched,
    ) -> None:
        self._link = AgentLink(dial, patience, watch)
        self.files = AgentFiles(self._link, dial)

    @property
    def connected(self) -> bool:
        """A stream to the agent is up at this moment."""
        return self._link.connected

    def hold(self, held: bool) -> None:
        """Whether the machine is held: its agent answers nothing, and is there all the same."""
        self._link.hold(held)

    async def run(self) -> None:
        """Keep the client connected while somebody needs it, until `aclose`."""
        await self._link.run()

    async def start(self, execution_id: int, spec: ProcessSpec) -> RemoteProcess:
        """Start it, or attach to it when this id was started before; cancelling this undoes the start."""
        process = self._link.process(execution_id)
        if process is None:
            frame, feed = start_frame(execution_id, spec)
            process = self._link.enter(
                RemoteProcess(execution_id, self._link, frame, starting=True, stdin=spec.stdin == "open")
            )
            try:
                await process.wait_started()
                if spec.terminal is not None:
                    await self._confirm_terminal(execution_id, spec.terminal)
            except (anyio.get_cancelled_exc_class(), AgentTooOld):
                process.abandon(kill=True)
                raise
            except BaseException:
                self._link.drop(process)
                raise
            if feed is not None and self._link.tasks is not None:
                self._link.tasks.start_soon(_feed, process, feed)
        else:
            await process.wait_started()
        return process

    async def attach(
        self, execution_id: int, *, stdout_offset: int = 0, stderr_offset: int = 0
    ) -> RemoteProcess:
        """Attach to an execution an earlier client started, from offsets not before its last ACK."""
        process = self._link.process(execution_id)
        if process is None:
            offsets = (stdout_offset, stderr_offset)
            payload = pack(Message.ATTACH, stdout_offset=stdout_offset, stderr_offset=stderr_offset)
            frame = encode(Message.ATTACH, execution_id, payload)
            process = self._link.enter(
                RemoteProcess(execution_id, self._link, frame, starting=False, offsets=offsets)
            )
            try:
                await process.wait_started()
            except BaseException:
                self._link.drop(process)
                raise
        else:
            await process.wait_started()
        return process

    async def _confirm_terminal(self, execution_id: int, size: TerminalSize) -> None:
        """AgentTooOld where the agent knows no terminals, and so has begun it without one."""
        with suppress(AgentRefused):  # it has ended already
            await self.resize(execution_id, size)

    async def resize(self, execution_id: int, size: TerminalSize) -> None:
        """Tell its terminal how large it is shown; AgentRefused `unknown_execution`, `not_supported`."""
        payload = pack(Message.RESIZE, execution=execution_id, terminal=terminal_number(size))
        await self._link.ask(Message.RESIZE, payload, Message.DONE)

    async def executions(self) -> list[tuple[int, bool]]:
        """Ids the agent knows, each with whether it is still running."""
        fields = await self._link.ask(Message.LIST, b"", Message.LISTED)
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
                Message.FILE_READ, path=_checked_path(path), offset=position, length=_FILE_CHUNK_BYTES
            )
            fields = await self._link.ask(Message.FILE_READ, payload, Message.FILE_DATA)
            data, size = fields.raw("data"), fields.u64("size")
            position += len(data)
            if max(position, size) > limit:
                raise InvalidRequest("path", f"'{path}' is larger than {limit} bytes")
            parts.append(data)
            if not data or position >= size > 0:  # files in /proc say 0
                return b"".join(parts)

    async def write_file(self, path: str, data: bytes, *, mode: int = 0o644, parents: bool = False) -> None:
        """Replace the file's content; AgentRefused, and InvalidRequest for what is no path."""
        for position in range(0, len(data) or 1, _FILE_CHUNK_BYTES):
            payload = pack(
                Message.FILE_WRITE,
                path=_checked_path(path),
                offset=position,
                truncate=int(position == 0),
                mode=mode,
                data=data[position : position + _FILE_CHUNK_BYTES],
                parents=int(parents),
            )
            await self._link.ask(Message.FILE_WRITE, payload, Message.DONE)

    async def warm(
        self,
        name: str,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        *,
        strategy: str,
        spares: int,
        command: tuple[str, ...] = (),
        fixed: tuple[str, ...] = (),
        fixed_cwd: bool = False,
    ) -> None:
        """Make or change a warm interpreter, or drop it with no `spares`."""
        payload = pack(
            Message.WARM,
            name=name,
            argv=argv,
            env=environment(env),
            cwd=b"/home/user",
            strategy=strategy,
            spares=spares,
            command=command,
            fixed=fixed,
            fixed_cwd=int(fixed_cwd),
        )
        await self._link.ask(Message.WARM, payload, Message.DONE)

    async def open_network(self, listen: NetworkListen) -> NetworkListen:
        """Listen for this from now on, on this connection and every later one; what could be had of it."""
        try:
            await self._listen(listen)
        except AgentRefused as refusal:
            proxy_only = NetworkListen(listen.proxy, channels=listen.channels)
            if refusal.reason != Reason.NOT_SUPPORTED or not listen.proxy or listen == proxy_only:
                raise
            await self._listen(proxy_only)
            return proxy_only
        return listen

    async def _listen(self, listen: NetworkListen) -> None:
        self._link.network.set_listen(listen)
        try:
            await self._link.ask(Message.LISTEN, listen_payload(listen), Message.DONE)
        except (AgentRefused, AgentTooOld):
            self._link.network.set_listen(NetworkListen())
            raise

    def guest_connections(self) -> AsyncIterator[AcceptedChannel]:
        """Connections of the VM's programs as they come, until the client is closed.  One task iterates."""
        return self._link.network.arrivals()

    async def connect(self, port: int) -> Channel:
        """A connection to what listens at 127.0.0.1:`port` in the VM."""
        await self._link.reach(Message.CHANNEL_CONNECT)
        return await self._link.network.connect(port)

    async def stats(self) -> Fields:
        """The agent's own figures: `processes`, `executions`, `connections`, `uptime_us`."""
        return await self._link.ask(Message.STATS, b"", Message.STATS_OK)

    async def ping(self) -> None:
        """One round trip."""
        await self._link.ask(Message.PING, b"", Message.PONG)

    async def shutdown(self, grace: float) -> None:
        """TERM to all, KILL after `grace` seconds, then the agent ends, and its stream with it."""
        payload = pack(Message.SHUTDOWN, grace_ms=max(0, int(grace * 1000)))
        await self._link.ask(Message.SHUTDOWN, payload, Message.DONE, volatile=True)

    async def aclose(self) -> None:
        """Close the connection; executions go on."""
        await self._link.aclose()


def _checked_path(path: str) -> str:
    if "\0" in path:
        raise InvalidRequest("path", "a path cannot hold a NUL byte")
    return path


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
    failure: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        client = Client(dial, patience=patience)
        tasks.start_soon(client.run)
        try:
            yield client
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # carried past the group, which would wrap it
            failure = error
        finally:
            client._link.close()
            tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
