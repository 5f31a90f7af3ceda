"""Keeping and returning to states of a VM's files."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from vmpool.backends.base import (
    Machine,
    MachineKey,
    MachineSpec,
    SupportsSnapshot,
    SupportsSnapshotFiles,
)
from vmpool.domain import VM, Snapshot, SnapshotState, VMState
from vmpool.errors import (
    BackendFailed,
    IllegalTransition,
    InvalidRequest,
    SnapshotNotFound,
    Unsupported,
    VMPoolError,
)
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import Executions
from vmpool.pool.lifecycle import Lifecycle
from vmpool.pool.requests import machine_spec

RESTORABLE = (VMState.RUNNING, VMState.STOPPED, VMState.ERROR)
MAX_NAME = 255


def check_snapshot_name(name: str | None) -> None:
    """InvalidRequest for what no snapshot can be called."""
    if name is not None and not (1 <= len(name) <= MAX_NAME and name.isprintable()):
        raise InvalidRequest("name", f"must be 1 to {MAX_NAME} printable characters")
    if name is not None and name.isdecimal():
        raise InvalidRequest("name", f"'{name}' must not be all digits: it would read as an id")


class Snapshots:
    """Snapshot, list, delete, restore."""

    def __init__(self, context: Context, lifecycle: Lifecycle, executions: Executions) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._executions = executions
        self.incoming: set[int] = set()
        """Ids of snapshots that come in as files: they are worked on without their VM being held."""

    def powers(self) -> SupportsSnapshot:
        """The backend as one that keeps snapshots; Unsupported where it is not."""
        backend = self._context.backend
        if not isinstance(backend, SupportsSnapshot):
            raise Unsupported("snapshot", backend.name)
        return backend

    async def take(self, vm: VM, name: str | None, *, sealed: bool = True) -> Snapshot:
        """Keep the files of a running, paused or stopped VM.  name: unique among its snapshots (Conflict).

        sealed: note what it is to be compared with before it is restored, at the cost of reading it once.
        """
        backend = self.powers()
        check_snapshot_name(name)
        rows = self._context.store.snapshots
        async with self._lifecycle.verb(vm) as vm:
            if vm.state not in (VMState.RUNNING, VMState.PAUSED, VMState.STOPPED):
                raise IllegalTransition(vm.id, vm.state.value, "the source of a snapshot")
            snapshot = await rows.begin(vm, name)
            try:
                stored = await backend.snapshot(key_of(vm), snapshot.reference)
                seal = await self.seal(snapshot) if sealed else None
                snapshot = await rows.complete(snapshot.id, base=stored.base, size=stored.size, seal=seal)
                self._context.journal.snapshot(snapshot)
                return snapshot
            except BaseException:
                with anyio.move_on_after(self._context.settings.cleanup_timeout, shield=True):
                    await self.give_up(snapshot)
                raise

    async def seal(self, snapshot: Snapshot) -> str | None:
        """What the backend compares it with later; None where it cannot."""
        backend = self._context.backend
        if not isinstance(backend, SupportsSnapshotFiles):
            return None
        return await backend.seal_snapshot(snapshot.reference)

    async def verify(self, snapshot: Snapshot) -> None:
        """SnapshotDamaged unless its files are what was kept.  One that has no seal is taken as it is."""
        backend = self._context.backend
        if snapshot.seal is not None and isinstance(backend, SupportsSnapshotFiles):
            await backend.verify_snapshot(snapshot.reference, snapshot.seal)

    async def give_up(self, snapshot: Snapshot) -> None:
        """Remove it, now or later."""
        try:
            await self.remove(snapshot)
        except VMPoolError:
            self._context.suspect()  # its row still says PENDING or DELETING

    async def delete(self, user_id: int, vm: VM, reference: int | str) -> None:
        """Remove one by id or name, with the VM held: what nobody works on, the reconciler removes itself."""
        async with self._lifecycle.verb(vm):
            await self.remove(await self._context.store.snapshots.get(user_id, vm.id, reference))

    async def remove(self, snapshot: Snapshot) -> None:
        """Remove it from the backend and from the rows, whatever state it is in.

        One that a template has its files in goes from its VM's list only.
        """
        rows = self._context.store.snapshots
        if snapshot.state is SnapshotState.READY and await self._context.store.templates.holds(snapshot.id):
            await rows.keep(snapshot.id)
            self._context.journal.snapshot(snapshot, deleted=True)
            return
        if snapshot.state is not SnapshotState.DELETING:
            await rows.begin_delete(snapshot.id)
        await self.powers().delete_snapshot(snapshot.reference)
        await rows.delete(snapshot.id)
        told = snapshot.state is SnapshotState.READY or snapshot.base  # else it never was there for anybody
        if told and snapshot.state is not SnapshotState.KEPT:
            self._context.journal.snapshot(snapshot, deleted=True)

    async def release(self, snapshot_id: int) -> None:
        """With its VM held: a template has let go of it.  Remove it unless something has it still.

        What fails, and what a create has, is in the reconciler's hands.
        """
        try:
            snapshot = await self._context.store.snapshots.at(snapshot_id)
            if snapshot.state is not SnapshotState.READY and not await self.needed(snapshot):
                await self.remove(snapshot)
        except VMPoolError:
            self._context.suspect()

    async def release_all(self, snapshot_ids: Iterable[int]) -> None:
        """Of each, with its VM not held: nothing that had it has it any more."""
        for snapshot_id in snapshot_ids:
            try:
                vm_id = (await self._context.store.snapshots.at(snapshot_id)).vm_id
            except SnapshotNotFound:
                continue
            async with self._context.locks.holding(vm_id):
                await self.release(snapshot_id)

    async def needed(self, snapshot: Snapshot) -> bool:
        """Whether a template has its files there, or a VM is being made from it."""
        if any(vm.restored_from == snapshot.id for vm in self._being_made()):
            return True
        return await self._context.store.templates.holds(snapshot.id)

    def _being_made(self) -> list[VM]:
        return [vm for vm in self._context.registry.all() if vm.state is VMState.CREATING]

    async def source_of(self, vm: VM) -> str | None:
        """What a VM that is being made is made from: a snapshot's reference, or None for nothing.

        BackendFailed where that snapshot is gone.
        """
        if vm.restored_from is None:
            return None
        for row in await self._context.store.snapshots.all():
            if row.id == vm.restored_from and row.state in (SnapshotState.READY, SnapshotState.KEPT):
                return row.reference
        raise BackendFailed(f"the snapshot VM {vm.id} was to be made from is gone")

    async def restore(self, vm: VM, snapshot: Snapshot) -> VM:
        """Put the VM's files back as they were; the VM runs afterwards, whatever it was before.

        A machine of the next generation is made beside the present one, which stays until the new one has
        taken its place: a restore that fails leaves the VM as it was.
        """
        self.powers()
        context = self._context
        async with self._lifecycle.verb(vm) as before:
            present = await context.registry.move(before, VMState.RESTORING, sources=RESTORABLE)
            fresh = MachineKey(vm.id, before.generation + 1)
            try:
                machine = await self._make(fresh, machine_spec(before, snapshot.reference))
                restored = await context.registry.move(
                    present,
                    VMState.RUNNING,
                    generation=fresh.generation,
                    container_id=machine.container_id,
                    isolation=machine.isolation,
                    warnings=machine.warnings,
                    restored_from=snapshot.id,
                    error=None,
                )
            except BaseException:
                with anyio.move_on_after(context.settings.cleanup_timeout, shield=True):
                    await self._undo(before, present)
                raise
            await self._retire(before)
        self._lifecycle.opened(restored)
        return restored

    async def _make(self, key: MachineKey, spec: MachineSpec) -> Machine:
        seconds = self._context.settings.create_timeout
        with anyio.move_on_after(seconds):
            return await self._context.backend.create(key, spec)
        raise BackendFailed(f"the machine was not there after {seconds:g} seconds")

    async def _undo(self, before: VM, present: VM) -> None:
        try:
            await self._context.backend.destroy(MachineKey(before.id, before.generation + 1))
            await self._context.registry.move(
                present,
                before.state,
                error=before.error,
                started_at=before.started_at,
                stopped_at=before.stopped_at,
            )
        except VMPoolError:
            self._context.suspect()  # the row still says RESTORING

    async def _retire(self, before: VM) -> None:
        """Destroy the machine that was replaced; what ran in it is recorded as ended by the restore."""
        context, key = self._context, key_of(before)
        self._executions.ending(before.id, "restored")
        try:
            await context.backend.destroy(key)
        except VMPoolError:
            context.suspect()  # an orphan now: the reconciler removes it
        await context.connections.close(key)
        await self._executions.settled(before.id)
        self._executions.forget_machine(key)
