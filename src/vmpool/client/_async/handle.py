"""A VM that can be told what to do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from pydantic import PrivateAttr

from vmpool.client._async.contexts import AsyncContextHandle
from vmpool.client._async.execution import AsyncExecutionHandle
from vmpool.client._async.files import Progress, unheard
from vmpool.client._async.waiting import cleanup
from vmpool.client.errors import VMNotFound
from vmpool.client.forwards import Forward, Problem, silence
from vmpool.client.models import (
    VM,
    Execution,
    LogEntry,
    Network,
    NetworkLogEntry,
    Share,
    Snapshot,
    Stream,
    VMStatus,
)
from vmpool.client.options import (
    BackgroundOptions,
    LimitOptions,
    PolicyOptions,
    RunOptions,
    StreamOptions,
)

if TYPE_CHECKING:
    from vmpool.client._async.client import AsyncClient
    from vmpool.client._async.files import AsyncFiles

CLEANUP_SECONDS = 30.0
"""How long leaving an `async with` block may take to delete the VM."""


class AsyncVMHandle(VM):
    """A VM with the client it came from.

    Its fields are what the server last said: `start`, `stop`, `restart`, `restore` and `refresh` return a
    new handle and leave this one as it is.  As a context manager it deletes the VM at the end::

        async with await client.create_vm("test-vm", "python") as vm:
            print((await vm.execute("print(6 * 7)")).output)
    """

    _client: AsyncClient = PrivateAttr()

    @classmethod
    def of(cls, client: AsyncClient, vm: VM) -> Self:
        """`vm` as a handle over `client`."""
        handle = cls.model_validate(vm.model_dump())
        handle._client = client
        return handle

    async def execute(self, code: str | None = None, **options: Unpack[RunOptions]) -> Execution:
        """Run `code` in this VM and wait for its result."""
        return await self._client.execute(self.id, code, **options)

    async def run(
        self,
        code: str | None = None,
        *,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        **options: Unpack[StreamOptions],
    ) -> Execution:
        """The same, what it writes handed on as it comes."""
        return await self._client.run(self.id, code, on_stdout=on_stdout, on_stderr=on_stderr, **options)

    async def install(
        self,
        *packages: str,
        manager: str | None = None,
        cwd: str | None = None,
        timeout: float | None = None,
    ) -> Execution:
        """Install packages in this VM, and answer how that went: see `exit_code`."""
        return await self._client.install(self.id, packages, manager=manager, cwd=cwd, timeout=timeout)

    async def begin(
        self, code: str | None = None, **options: Unpack[BackgroundOptions]
    ) -> AsyncExecutionHandle:
        """Begin to run `code` in this VM in the background."""
        return await self._client.begin(self.id, code, **options)

    async def execution(self, execution_id: int) -> AsyncExecutionHandle:
        """One of its executions, to be waited for, read or ended."""
        return await self._client.executions.attach(self.id, execution_id)

    async def context(
        self, language: str | None = None, *, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> AsyncContextHandle:
        """A new kernel that remembers from one cell to the next: python, nodejs or bash."""
        return await self._client.contexts.create(self.id, language, cwd=cwd, env=env)

    async def contexts(self) -> list[AsyncContextHandle]:
        """Its contexts, newest first, dead ones included."""
        return await self._client.contexts.list(self.id)

    async def start(self) -> AsyncVMHandle:
        """Start it again with the files it had."""
        return await self._client.start_vm(self.id)

    async def stop(self) -> AsyncVMHandle:
        """End its processes and keep its files."""
        return await self._client.stop_vm(self.id)

    async def pause(self) -> AsyncVMHandle:
        """Hold it where it is, with its memory."""
        return await self._client.pause_vm(self.id)

    async def resume(self) -> AsyncVMHandle:
        """Let it go on."""
        return await self._client.resume_vm(self.id)

    async def restart(self) -> AsyncVMHandle:
        """Stop it and start it."""
        return await self._client.restart_vm(self.id)

    async def change_limits(self, **limits: Unpack[LimitOptions]) -> AsyncVMHandle:
        """Give it other limits; a hard disk grows while the VM is stopped."""
        return await self._client.change_limits(self.id, **limits)

    async def refresh(self) -> AsyncVMHandle:
        """The same VM as it is now."""
        return await self._client.get_vm(self.id)

    async def delete(self) -> None:
        """Destroy it with its files; its history stays readable for a while."""
        await self._client.delete_vm(self.id)

    async def usage(self) -> VMStatus:
        """Live CPU, memory, disk and process figures."""
        return await self._client.vm_status(self.id)

    async def executions(self, limit: int = 100, state: str | None = None) -> list[Execution]:
        """Its latest executions, newest first; at most `limit`.  state: only those in it."""
        return await self._client.list_executions(self.id, limit, state)

    def output(
        self, execution: Execution | int, stream: Stream = "stdout", *, offset: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """What an execution in it wrote to one stream, whole, in pieces of bytes."""
        return self._client.output(self.id, execution, stream, offset=offset)

    async def logs(self, tail: int | None = None) -> list[LogEntry]:
        """What its last `tail` executions (default: 100) wrote, oldest first."""
        return await self._client.logs(self.id, tail)

    def follow_logs(self, tail: int | None = None) -> AsyncGenerator[LogEntry, None]:
        """What its last `tail` executions (default: 100) wrote, then everything as it is written."""
        return self._client.follow_logs(self.id, tail)

    @property
    def files(self) -> AsyncFiles:
        """Its files."""
        return self._client.files(self.id)

    async def snapshot(self, name: str | None = None) -> Snapshot:
        """Keep its files as they are now."""
        return await self._client.snapshot(self.id, name)

    async def fork(self, count: int | None = None, names: Sequence[str] | None = None) -> list[AsyncVMHandle]:
        """Make copies of it with its files as they are now, all running, or none; see `AsyncClient.fork`."""
        return await self._client.fork(self.id, count, names)

    async def snapshots(self) -> list[Snapshot]:
        """Its snapshots, newest first."""
        return await self._client.list_snapshots(self.id)

    async def export_snapshot(
        self, snapshot: Snapshot | int, local: str | Path, *, progress: Progress = unheard
    ) -> Path:
        """One of its snapshots as one file; see `AsyncSnapshots.export_to`."""
        return await self._client.snapshots.export_to(self.id, snapshot, local, progress=progress)

    async def import_snapshot(
        self, local: str | Path, name: str | None = None, *, progress: Progress = unheard
    ) -> Snapshot:
        """Keep what was exported as a snapshot of this VM; see `AsyncSnapshots.import_from`."""
        return await self._client.snapshots.import_from(self.id, local, name, progress=progress)

    async def restore(self, snapshot: Snapshot | int) -> AsyncVMHandle:
        """Put its files back to what `snapshot` kept."""
        return await self._client.restore(self.id, snapshot)

    async def network_use(self) -> Network:
        """What it may reach, and what it has used."""
        return await self._client.network(self.id)

    async def set_network(self, **policy: Unpack[PolicyOptions]) -> Network:
        """Change what it may reach, at once: the whole policy."""
        return await self._client.set_network(self.id, **policy)

    async def network_log(self, limit: int = 100) -> list[NetworkLogEntry]:
        """Its latest connections, newest first; at most `limit`."""
        return await self._client.network_log(self.id, limit)

    def forward(
        self, port: int, *, local_port: int = 0, problem: Problem = silence
    ) -> AbstractAsyncContextManager[Forward]:
        """One of its ports at a port of this machine's loopback, while the block lasts."""
        return self._client.forward(self.id, port, local_port=local_port, problem=problem)

    async def share(self, port: int, expires_in: int | None = None) -> Share:
        """Make a link with which whoever has it reaches this port."""
        return await self._client.share(self.id, port, expires_in)

    async def revoke_shares(self, port: int) -> None:
        """End every link to this port."""
        await self._client.revoke_shares(self.id, port)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with cleanup(CLEANUP_SECONDS):
            try:
                await self.delete()
            except VMNotFound:
                pass  # deleted by the block itself, or by its time-to-live
