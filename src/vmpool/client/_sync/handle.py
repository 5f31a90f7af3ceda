"""A VM that can be told what to do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from pydantic import PrivateAttr

from vmpool.client._sync.contexts import ContextHandle
from vmpool.client._sync.execution import ExecutionHandle
from vmpool.client._sync.files import Progress, unheard
from vmpool.client._sync.waiting import cleanup
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
    from vmpool.client._sync.client import Client
    from vmpool.client._sync.files import Files

CLEANUP_SECONDS = 30.0
"""How long leaving an `with` block may take to delete the VM."""


class VMHandle(VM):
    """A VM with the client it came from.

    Its fields are what the server last said: `start`, `stop`, `restart`, `restore` and `refresh` return a
    new handle and leave this one as it is.  As a context manager it deletes the VM at the end::

        with client.create_vm("test-vm", "python") as vm:
            print((vm.execute("print(6 * 7)")).output)
    """

    _client: Client = PrivateAttr()

    @classmethod
    def of(cls, client: Client, vm: VM) -> Self:
        """`vm` as a handle over `client`."""
        handle = cls.model_validate(vm.model_dump())
        handle._client = client
        return handle

    def execute(self, code: str | None = None, **options: Unpack[RunOptions]) -> Execution:
        """Run `code` in this VM and wait for its result."""
        return self._client.execute(self.id, code, **options)

    def run(
        self,
        code: str | None = None,
        *,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        **options: Unpack[StreamOptions],
    ) -> Execution:
        """The same, what it writes handed on as it comes."""
        return self._client.run(self.id, code, on_stdout=on_stdout, on_stderr=on_stderr, **options)

    def install(
        self,
        *packages: str,
        manager: str | None = None,
        cwd: str | None = None,
        timeout: float | None = None,
    ) -> Execution:
        """Install packages in this VM, and answer how that went: see `exit_code`."""
        return self._client.install(self.id, packages, manager=manager, cwd=cwd, timeout=timeout)

    def begin(self, code: str | None = None, **options: Unpack[BackgroundOptions]) -> ExecutionHandle:
        """Begin to run `code` in this VM in the background."""
        return self._client.begin(self.id, code, **options)

    def execution(self, execution_id: int) -> ExecutionHandle:
        """One of its executions, to be waited for, read or ended."""
        return self._client.executions.attach(self.id, execution_id)

    def context(
        self, language: str | None = None, *, cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> ContextHandle:
        """A new kernel that remembers from one cell to the next: python, nodejs or bash."""
        return self._client.contexts.create(self.id, language, cwd=cwd, env=env)

    def contexts(self) -> list[ContextHandle]:
        """Its contexts, newest first, dead ones included."""
        return self._client.contexts.list(self.id)

    def start(self) -> VMHandle:
        """Start it again with the files it had."""
        return self._client.start_vm(self.id)

    def stop(self) -> VMHandle:
        """End its processes and keep its files."""
        return self._client.stop_vm(self.id)

    def pause(self) -> VMHandle:
        """Hold it where it is, with its memory."""
        return self._client.pause_vm(self.id)

    def resume(self) -> VMHandle:
        """Let it go on."""
        return self._client.resume_vm(self.id)

    def restart(self) -> VMHandle:
        """Stop it and start it."""
        return self._client.restart_vm(self.id)

    def change_limits(self, **limits: Unpack[LimitOptions]) -> VMHandle:
        """Give it other limits; a hard disk grows while the VM is stopped."""
        return self._client.change_limits(self.id, **limits)

    def refresh(self) -> VMHandle:
        """The same VM as it is now."""
        return self._client.get_vm(self.id)

    def delete(self) -> None:
        """Destroy it with its files; its history stays readable for a while."""
        self._client.delete_vm(self.id)

    def usage(self) -> VMStatus:
        """Live CPU, memory, disk and process figures."""
        return self._client.vm_status(self.id)

    def executions(self, limit: int = 100, state: str | None = None) -> list[Execution]:
        """Its latest executions, newest first; at most `limit`.  state: only those in it."""
        return self._client.list_executions(self.id, limit, state)

    def output(
        self, execution: Execution | int, stream: Stream = "stdout", *, offset: int = 0
    ) -> Generator[bytes, None, None]:
        """What an execution in it wrote to one stream, whole, in pieces of bytes."""
        return self._client.output(self.id, execution, stream, offset=offset)

    def logs(self, tail: int | None = None) -> list[LogEntry]:
        """What its last `tail` executions (default: 100) wrote, oldest first."""
        return self._client.logs(self.id, tail)

    def follow_logs(self, tail: int | None = None) -> Generator[LogEntry, None, None]:
        """What its last `tail` executions (default: 100) wrote, then everything as it is written."""
        return self._client.follow_logs(self.id, tail)

    @property
    def files(self) -> Files:
        """Its files."""
        return self._client.files(self.id)

    def snapshot(self, name: str | None = None) -> Snapshot:
        """Keep its files as they are now."""
        return self._client.snapshot(self.id, name)

    def fork(self, count: int | None = None, names: Sequence[str] | None = None) -> list[VMHandle]:
        """Make copies of it with its files as they are now, all running, or none; see `Client.fork`."""
        return self._client.fork(self.id, count, names)

    def snapshots(self) -> list[Snapshot]:
        """Its snapshots, newest first."""
        return self._client.list_snapshots(self.id)

    def export_snapshot(
        self, snapshot: Snapshot | int, local: str | Path, *, progress: Progress = unheard
    ) -> Path:
        """One of its snapshots as one file; see `Snapshots.export_to`."""
        return self._client.snapshots.export_to(self.id, snapshot, local, progress=progress)

    def import_snapshot(
        self, local: str | Path, name: str | None = None, *, progress: Progress = unheard
    ) -> Snapshot:
        """Keep what was exported as a snapshot of this VM; see `Snapshots.import_from`."""
        return self._client.snapshots.import_from(self.id, local, name, progress=progress)

    def restore(self, snapshot: Snapshot | int) -> VMHandle:
        """Put its files back to what `snapshot` kept."""
        return self._client.restore(self.id, snapshot)

    def network_use(self) -> Network:
        """What it may reach, and what it has used."""
        return self._client.network(self.id)

    def set_network(self, **policy: Unpack[PolicyOptions]) -> Network:
        """Change what it may reach, at once: the whole policy."""
        return self._client.set_network(self.id, **policy)

    def network_log(self, limit: int = 100) -> list[NetworkLogEntry]:
        """Its latest connections, newest first; at most `limit`."""
        return self._client.network_log(self.id, limit)

    def forward(
        self, port: int, *, local_port: int = 0, problem: Problem = silence
    ) -> AbstractContextManager[Forward]:
        """One of its ports at a port of this machine's loopback, while the block lasts."""
        return self._client.forward(self.id, port, local_port=local_port, problem=problem)

    def share(self, port: int, expires_in: int | None = None) -> Share:
        """Make a link with which whoever has it reaches this port."""
        return self._client.share(self.id, port, expires_in)

    def revoke_shares(self, port: int) -> None:
        """End every link to this port."""
        self._client.revoke_shares(self.id, port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with cleanup(CLEANUP_SECONDS):
            try:
                self.delete()
            except VMNotFound:
                pass  # deleted by the block itself, or by its time-to-live
