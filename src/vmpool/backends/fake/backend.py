"""A backend in memory; it passes the conformance suite, so that tests on it mean something."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Self, TypeVar

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
from vmpool.backends.fake import snapshot_files
from vmpool.backends.fake.faults import Fault, ForgetOnRestart
from vmpool.backends.fake.files import Files
from vmpool.backends.fake.host import ISOLATION, FakeHost, FakeMachine
from vmpool.domain import LANGUAGES
from vmpool.errors import (
    AgentUnreachable,
    BackendFailed,
    BackendUnreachable,
    IsolationUnavailable,
    SnapshotDamaged,
    SnapshotMismatch,
    SnapshotNotFound,
    TemplateNotFound,
    Unsupported,
)
from vmpool.snapshot_file import Layer

T = TypeVar("T")
Machines = list[Machine]  # inside the class, `list` is a verb
Snapshots = list[StoredSnapshot]
Keys = list[MachineKey]

VERBS = frozenset(
    {
        "describe", "create", "inspect", "list", "start", "stop", "destroy", "dial", "usage",
        "snapshot", "delete_snapshot", "list_snapshots",
        "seal_snapshot", "verify_snapshot", "import_snapshot",
        "claim", "settle", "outdated_spares", "resize", "pause", "resume",
    }
)  # fmt: skip
"""What a fault can stand before."""


LIMITS = ("cpu", "memory", "disk", "processes")


class FakeBackend(Backend):
    """Implements Backend, SupportsSnapshotFiles, SupportsSpares, SupportsResize and SupportsPause.

    host: the world it manages; without one, a fresh one that ends with this backend.  Keyword faults are
    named after the verb they stand before, and `faults` may be changed while it runs.
    """

    name = "fake"

    def __init__(self, *faults: ForgetOnRestart, host: FakeHost | None = None, **verb_faults: Fault) -> None:
        if unknown := verb_faults.keys() - VERBS:
            raise TypeError(f"no verb {', '.join(sorted(unknown))}")
        self.host = host or FakeHost()
        self.faults: dict[str, Fault] = dict(verb_faults)
        self._owns_host = host is None
        self._forgets = bool(faults)

    async def __aenter__(self) -> Self:
        if self._owns_host:
            await self.host.__aenter__()
        if self._forgets:
            for key in list(self.host.machines):
                await self.host.vanish(key)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._owns_host:
            await self.host.__aexit__(*exc_info)

    async def describe(self) -> BackendInfo:
        async def act() -> BackendInfo:
            return BackendInfo(
                name=self.name,
                version="1",
                isolation=ISOLATION,
                isolations=(ISOLATION,),
                soft_limits={ISOLATION: LIMITS},
                grade="fake",
                templates=tuple(LANGUAGES),
                enforcement=dict.fromkeys((*LIMITS, "network"), "nothing"),
                capabilities=("snapshot", "spares", "resize", "pause"),
            )

        return await self._do("describe", act)

    async def create(self, key: MachineKey, spec: MachineSpec) -> Machine:
        host = self.host
        self._reach()
        async with host.lock(key):
            machine = host.machines.get(key)
            if machine is not None and not machine.half:
                await host.boot(machine)
                return machine.seen()

            async def act() -> Machine:
                fresh = FakeMachine(key, spec, self._files_for(spec))
                await host.boot(fresh)
                host.machines[key] = fresh
                return fresh.seen()

            host.creating.add(key)
            try:
                return await self._do("create", act)
            finally:
                host.creating.discard(key)

    def _files_for(self, spec: MachineSpec) -> Files:
        if spec.isolation not in ("", ISOLATION):
            raise IsolationUnavailable(spec.isolation, self.name, (ISOLATION,), "use another backend")
        if spec.template not in LANGUAGES:
            raise TemplateNotFound(spec.template)
        if spec.snapshot is None:
            return Files()
        found = self.host.snapshots.get(spec.snapshot)
        if found is None:
            raise SnapshotNotFound(spec.snapshot)
        stored, files = found
        if stored.base != spec.template:
            raise SnapshotMismatch(f"the snapshot stands on {stored.base}, the machine on {spec.template}")
        return files.copy()

    async def inspect(self, key: MachineKey) -> Machine | None:
        async def act() -> Machine | None:
            machine = self.host.machines.get(key)
            if machine is not None:
                return machine.seen()
            if key in self.host.creating:
                return Machine(key, MachineState.CREATING, "", ISOLATION)
            return None

        return await self._do("inspect", act)

    async def list(self) -> list[Machine]:
        async def act() -> Machines:
            creating = [
                Machine(key, MachineState.CREATING, "", ISOLATION)
                for key in self.host.creating - self.host.machines.keys()
            ]
            return [machine.seen() for machine in self.host.machines.values()] + creating

        return await self._do("list", act)

    async def start(self, key: MachineKey) -> Machine:
        async def act() -> Machine:
            async with self.host.lock(key):
                machine = self._whole(key)
                await self.host.boot(machine)
                return machine.seen()

        return await self._do("start", act)

    async def stop(self, key: MachineKey) -> None:
        async def act() -> None:
            async with self.host.lock(key):
                await self._whole(key).halt()

        await self._do("stop", act)

    async def destroy(self, key: MachineKey) -> None:
        async def act() -> None:
            async with self.host.lock(key):
                machine = self.host.machines.pop(key, None)
                if machine is not None:
                    await machine.halt()

        await self._do("destroy", act)

    async def dial(self, key: MachineKey) -> ByteStream:
        async def act() -> ByteStream:
            machine = self.host.machines.get(key)
            if machine is None:
                raise AgentUnreachable(f"there is no machine {key}")
            return machine.dial()

        return await self._do("dial", act)

    async def usage(self, key: MachineKey) -> Usage:
        async def act() -> Usage:
            machine = self.host.machines.get(key)
            if machine is None or machine.agent is None:
                return Usage()
            running = sum(execution.running for execution in machine.agent.executions.values())
            return Usage(
                cpu_seconds=0.0,
                memory_bytes=0,
                memory_peak_bytes=0,
                processes=1 + running,
                disk_bytes=machine.files.size,
                oom_kills=0,
            )

        return await self._do("usage", act)

    async def snapshot(self, key: MachineKey, reference: str) -> StoredSnapshot:
        async def act() -> StoredSnapshot:
            async with self.host.lock(key):
                if reference in self.host.snapshots:
                    return self.host.snapshots[reference][0]
                machine = self._whole(key)
                files = machine.files.copy()
                stored = StoredSnapshot(reference, base=machine.spec.template, size=files.size)
                self.host.snapshots[reference] = (stored, files)
                return replace(stored)

        return await self._do("snapshot", act)

    async def delete_snapshot(self, reference: str) -> None:
        async def act() -> None:
            self.host.snapshots.pop(reference, None)

        await self._do("delete_snapshot", act)

    async def list_snapshots(self) -> Snapshots:
        async def act() -> Snapshots:
            return [stored for stored, _ in self.host.snapshots.values()]

        return await self._do("list_snapshots", act)

    async def seal_snapshot(self, reference: str) -> str:
        async def act() -> str:
            return snapshot_files.seal(self._kept(reference))

        return await self._do("seal_snapshot", act)

    async def verify_snapshot(self, reference: str, seal: str) -> None:
        async def act() -> None:
            kept = self.host.snapshots.get(reference)
            if kept is None or snapshot_files.seal(kept[1]) != seal:
                raise SnapshotDamaged("its files are not what was kept")

        await self._do("verify_snapshot", act)

    @asynccontextmanager
    async def export_snapshot(self, reference: str) -> AsyncIterator[SnapshotContent]:
        self._reach()
        files = self._kept(reference)
        yield snapshot_files.exported(files, self.host.snapshots[reference][0].base)

    async def import_snapshot(
        self, reference: str, spec: MachineSpec, base: str, pieces: AsyncIterator[Layer | bytes]
    ) -> StoredSnapshot:
        async def act() -> StoredSnapshot:
            if base != spec.template:
                raise SnapshotMismatch(f"the snapshot stands on {base}, the machine on {spec.template}")
            files = await snapshot_files.imported(pieces, spec.limits.disk << 20)
            stored = StoredSnapshot(reference, base=base, size=files.size)
            self.host.snapshots[reference] = (stored, files)
            return stored

        return await self._do("import_snapshot", act)

    def _kept(self, reference: str) -> Files:
        found = self.host.snapshots.get(reference)
        if found is None:
            raise SnapshotNotFound(reference)
        return found[1]

    def can_claim(self, made: MachineSpec, asked: MachineSpec) -> bool:
        return made.template == asked.template and asked.snapshot is None

    async def claim(self, spare: MachineKey, key: MachineKey, spec: MachineSpec) -> Machine:
        async def act() -> Machine:
            async with self.host.lock(spare), self.host.lock(key):
                machine = self._whole(spare)
                if machine.agent is None:
                    raise BackendFailed(f"the spare {spare} does not run")
                machine.become(key, spec)
                self.host.machines[key] = self.host.machines.pop(spare)
                return machine.seen()

        return await self._do("claim", act)

    async def settle(self, container_id: str, key: MachineKey, spec: MachineSpec) -> None:
        async def act() -> None:
            for found, machine in list(self.host.machines.items()):
                if machine.container_id == container_id:
                    machine.become(key, spec)
                    self.host.machines[key] = self.host.machines.pop(found)  # an earlier server's claim

        await self._do("settle", act)

    async def outdated_spares(self) -> Keys:
        async def act() -> Keys:
            return [key for key in self.host.outdated if key in self.host.machines]

        return await self._do("outdated_spares", act)

    async def resize(self, key: MachineKey, spec: MachineSpec) -> Machine:
        async def act() -> Machine:
            async with self.host.lock(key):
                machine = self._whole(key)
                if spec.limits.disk < machine.spec.limits.disk:
                    raise Unsupported("disk_limit", self.name, "a disk only grows")
                machine.spec = replace(machine.spec, limits=spec.limits)
                return machine.seen()

        return await self._do("resize", act)

    async def pause(self, key: MachineKey) -> None:
        async def act() -> None:
            async with self.host.lock(key):
                machine = self._whole(key)
                if machine.agent is None:
                    raise BackendFailed(f"machine {key} does not run")
                machine.paused = True
                machine.agent.hold()

        await self._do("pause", act)

    async def resume(self, key: MachineKey) -> None:
        async def act() -> None:
            async with self.host.lock(key):
                machine = self._whole(key)
                machine.paused = False
                if machine.agent is not None:
                    machine.agent.let_go()

        await self._do("resume", act)

    async def _do(self, verb: str, act: Callable[[], Awaitable[T]]) -> T:
        self._reach()
        fault = self.faults.get(verb)
        return await act() if fault is None else await fault.apply(act)

    def _reach(self) -> None:
        if not self.host.engine_up:
            raise BackendUnreachable("the fake engine is switched off")

    def _whole(self, key: MachineKey) -> FakeMachine:
        machine = self.host.machines.get(key)
        if machine is None or machine.half:
            raise BackendFailed(f"there is no machine {key}")
        return machine
