"""The pool's VMs in memory: exactly what the store holds, without asking it.

One server owns a state directory, so whoever writes a row writes it through here.  An execution then costs
no read of the database.  A row is written first and mirrored after; a write once begun is carried through
even when its caller is cancelled, so that the two cannot part.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Unpack

import anyio

from vmpool.domain import VM, Census, Limits, NetworkPolicy, NewVM, VMState
from vmpool.errors import VMNotFound
from vmpool.store.vms import Facts, VMs

Told = Callable[[VM | None, VM], None]
"""Told of a row that was written: the VM before, None where it is new, and the VM now."""


def _untold(before: VM | None, vm: VM) -> None:
    """Nobody wants to know."""


SOON = frozenset({VMState.RUNNING, VMState.STARTING, VMState.STOPPING, VMState.DELETING})
"""States whose row need not be flushed at once: after a power failure no machine runs, whatever they say, and
what followed from them (stopped, deleted, in error) is flushed, and they before it."""


class Registry:
    """Every VM that is not deleted, by id and by its owner's name for it."""

    def __init__(self, rows: VMs, told: Told = _untold) -> None:
        self._rows = rows
        self._told = told
        self._vms: dict[int, VM] = {}
        self._ids: dict[tuple[int, str], int] = {}
        self._used: dict[int, datetime] = {}

    async def load(self) -> None:
        """Read every live row; once, before anything else."""
        for vm in await self._rows.live():
            self._mirror(vm)

    def find(self, user_id: int, reference: int | str) -> VM:
        """The user's VM by id or name; VMNotFound also for a foreign one."""
        if isinstance(reference, str) and not reference.isdecimal():
            vm_id = self._ids.get((user_id, reference))
        else:
            vm_id = int(reference) if len(str(reference)) < 20 else None
        vm = self._vms.get(vm_id) if vm_id is not None else None
        if vm is None or vm.user_id != user_id:
            raise VMNotFound(reference)
        return vm

    def get(self, vm_id: int) -> VM | None:
        """The VM as it is now; None once deleted."""
        return self._vms.get(vm_id)

    def all(self) -> list[VM]:
        """Every live VM, oldest first."""
        return list(self._vms.values())

    def of_user(self, user_id: int) -> list[VM]:
        """The user's live VMs, newest first."""
        return [vm for vm in reversed(self._vms.values()) if vm.user_id == user_id]

    async def insert(self, new: NewVM, admit: Callable[[Census], None]) -> VM:
        """A row in state CREATING; raises what `admit` raises, or NameTaken."""
        with anyio.CancelScope(shield=True):
            vm = await self._rows.insert(new, admit)
            self._keep(vm)
        return vm

    async def move(
        self, vm: VM, to: VMState, *, sources: Collection[VMState] | None = None, **facts: Unpack[Facts]
    ) -> VM:
        """Move the VM along an arrow and record facts with it, in one guarded update.

        sources: the states it may come from; the one of `vm` by default.  IllegalTransition where the row
        is in another.
        """
        sources = sources or (vm.state,)
        known = self._vms.get(vm.id)
        with anyio.CancelScope(shield=True):
            if to in SOON and known is not None and known.state in sources:
                moved = await self._rows.move(replace(known, generation=vm.generation), to, **facts)
            else:
                moved = await self._rows.transition(vm.id, sources, to, if_generation=vm.generation, **facts)
            self._keep(moved)
        return moved

    async def intend(self, vm: VM, wanted: Limits, admit: Callable[[Census], None]) -> VM:
        """The row says that the VM is being given other limits; raises what `admit` raises."""
        with anyio.CancelScope(shield=True):
            changed = await self._rows.intend(vm, wanted, admit)
            self._keep(changed)
        return changed

    async def record(self, vm: VM, **facts: Unpack[Facts]) -> VM:
        """Record facts of a VM that stays in its state."""
        with anyio.CancelScope(shield=True):
            changed = await self._rows.record(vm.id, if_generation=vm.generation, **facts)
            self._keep(changed)
        return changed

    async def record_policy(self, vm: VM, policy: NetworkPolicy) -> VM:
        """Change what the VM may reach, whatever else is being done with it; VMNotFound once deleted."""
        with anyio.CancelScope(shield=True):
            await self._rows.record(vm.id, network_policy=policy)
            now = self._vms.get(vm.id)
            if now is None:
                raise VMNotFound(vm.id)
            changed = self._vms[vm.id] = replace(now, network_policy=policy)
            self._told(now, changed)
        return changed

    def touch(self, vm_id: int, at: datetime) -> None:
        """The VM was used; written with the next `flush`."""
        vm = self._vms.get(vm_id)
        if vm is not None:
            self._vms[vm_id] = replace(vm, last_used_at=at)
            self._used[vm_id] = at

    async def flush(self) -> None:
        """Write when VMs were last used."""
        used, self._used = self._used, {}
        for vm_id, at in used.items():
            await self._rows.touch(vm_id, at)

    def _keep(self, vm: VM) -> None:
        before = self._vms.get(vm.id)
        self._mirror(vm)
        self._told(before, self._vms.get(vm.id, vm))

    def _mirror(self, vm: VM) -> None:
        if vm.state is VMState.DELETED:
            self._vms.pop(vm.id, None)
            self._ids.pop((vm.user_id, vm.name), None)
        else:
            before = self._vms.get(vm.id)
            if before is not None and before.network_policy != vm.network_policy:  # recorded meanwhile
                vm = replace(vm, network_policy=before.network_policy)
            self._vms[vm.id] = vm
            self._ids[vm.user_id, vm.name] = vm.id


def states(vms: Iterable[VM]) -> dict[VMState, int]:
    """How many are in each state."""
    counted: dict[VMState, int] = {}
    for vm in vms:
        counted[vm.state] = counted.get(vm.state, 0) + 1
    return counted
