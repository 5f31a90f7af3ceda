"""Makes rows and reality agree: at the server's start, after every hint, and every few seconds.

It looks without locks and acts under them: a mismatch is looked at again while its VM is held, so that a
verb in progress is never taken for drift.  What it cannot do now it tries in the next round.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

import anyio

from vmpool.backends.base import Machine, MachineKey, SupportsSnapshot
from vmpool.domain import VM, Execution, Snapshot, SnapshotState, VMState
from vmpool.errors import BackendFailed, BackendUnreachable, InfrastructureFailure, VMPoolError
from vmpool.pool.building.builds import Builds
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import Executions
from vmpool.pool.holding import hold, let_go
from vmpool.pool.lifecycle import Lifecycle
from vmpool.pool.repair import Repair, repair
from vmpool.pool.requests import machine_spec
from vmpool.pool.resizing import Resizing
from vmpool.pool.snapshots import Snapshots
from vmpool.pool.templates import Templates
from vmpool.pool.warm_pool.keeper import WarmPool
from vmpool.telemetry import log_context

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""VMs repaired at once."""
PATIENCE = 10.0
"""Seconds a round waits for its repairs before it goes on to the rest."""
DEBOUNCE = 0.2
"""Seconds between a hint and the round it asks for."""
SNAPSHOTS_EVERY = 20
"""Rounds between two looks at the backend's own list of snapshots."""


class Reconciler:
    """The one place where drift is repaired."""

    def __init__(
        self,
        context: Context,
        executions: Executions,
        lifecycle: Lifecycle,
        snapshots: Snapshots,
        warm_pool: WarmPool,
        resizing: Resizing,
        templates: Templates,
        builds: Builds,
    ) -> None:
        self._context = context
        self._executions = executions
        self._lifecycle = lifecycle
        self._snapshots = snapshots
        self._warm_pool = warm_pool
        self._resizing = resizing
        self._templates = templates
        self._builds = builds
        self._strangers: set[MachineKey] = set()
        self._strange_snapshots: set[str] = set()
        self._inherited: frozenset[int] = frozenset()
        self._taking_over = True
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._rounds = 0
        self.first_round = anyio.Event()

    async def run(self) -> NoReturn:
        """For ever."""
        while True:
            self._context.hint = anyio.Event()
            try:
                await self.round()
                self._context.telemetry.metrics.rounds.add("done")
            except Exception:  # engine or database away, or a defect of ours: neither may end the server
                self._context.telemetry.metrics.rounds.add("failed")
                logger.exception("reconciling failed")
            self.first_round.set()
            with anyio.move_on_after(self._context.settings.reconcile_every):
                await self._context.hint.wait()
                await anyio.sleep(DEBOUNCE)

    async def round(self) -> None:
        """One look at everything."""
        machines = {machine.key: machine for machine in await self._context.backend.list()}
        await self._warm_pool.sort_out(machines)
        await self._repair_all(machines)
        await self._resizing.finish()
        if self._taking_over:
            self._taking_over = await self._take_over()
        await self._destroy_strangers(machines)
        await self._builds.settle()
        await self._templates.settle()
        await self._settle_snapshots()
        self._rounds += 1

    # -- rows and their machines

    async def _repair_all(self, machines: Mapping[MachineKey, Machine]) -> None:
        """Repair all VMs at once; one whose backend hangs is left to go on behind the round."""
        context = self._context
        repairs: list[anyio.Event] = []
        for vm in context.registry.all():
            machine = machines.get(key_of(vm))
            drifted = vm.backend == context.backend.name and repair(vm.state, machine)
            if drifted and not context.locks.busy(vm.id):
                repairs.append(anyio.Event())
                context.tasks.start_soon(self._repair, vm, repairs[-1])
        with anyio.move_on_after(PATIENCE):
            for done in repairs:
                await done.wait()

    async def _repair(self, seen: VM, done: anyio.Event) -> None:
        context = self._context
        log_context.for_vm(seen.id)
        try:
            async with self._limiter, context.locks.holding(seen.id):
                vm = context.registry.get(seen.id)
                if vm is not None:
                    with anyio.move_on_after(context.settings.create_timeout):
                        await self._look_again(vm)
        except VMPoolError:  # the database is away: nothing could be recorded, so nothing is claimed
            logger.exception("VM %s could not be repaired", seen.id)
        finally:
            done.set()

    async def _look_again(self, vm: VM) -> None:
        """With the VM held: is it still so, and if it is, act."""
        try:
            try:
                await self._agree(vm)
            except BackendUnreachable:
                raise
            except InfrastructureFailure as error:
                await self._give_up(vm, error)
        except BackendUnreachable:
            logger.warning("VM %s: the backend does not answer; the next round tries again", vm.id)

    async def _agree(self, vm: VM) -> None:
        machine = await self._context.backend.inspect(key_of(vm))
        what = repair(vm.state, machine)
        if what is not None:
            logger.info("VM %s is %s in its row: %s", vm.id, vm.state.value, what.name)
            self._context.telemetry.metrics.repairs.add(what.name.lower())
            await self._act(vm, what)

    async def _give_up(self, seen: VM, error: InfrastructureFailure) -> None:
        """What cannot be finished is an ERROR that says why; a delete is tried again for ever.

        BackendUnreachable where nothing answers any more: what fails on an engine's way down says nothing of
        the VM.
        """
        with suppress(BackendFailed):
            await self._context.backend.inspect(key_of(seen))
        logger.warning("VM %s could not be repaired: %s", seen.id, error)
        vm = self._context.registry.get(seen.id)
        if vm is not None and vm.state not in (VMState.DELETING, VMState.ERROR):
            await self._context.registry.move(vm, VMState.ERROR, error=str(error))

    async def _act(self, vm: VM, what: Repair) -> None:
        context, key = self._context, key_of(vm)
        match what:
            case Repair.FINISH_CREATE:
                spec = machine_spec(vm, await self._snapshots.source_of(vm))
                await self._lifecycle.running(vm, await context.backend.create(key, spec))
            case Repair.FINISH_START:
                await self._lifecycle.running(vm, await self._lifecycle.start_machine(vm))
            case Repair.FINISH_STOP:
                await self._lifecycle.end_processes(vm, "stopped")
                await context.registry.move(vm, VMState.STOPPED, error=vm.error)
            case Repair.FINISH_DELETE:
                await self._lifecycle.destroy(vm, error=vm.error)
            case Repair.UNDO_RESTORE:
                await self._undo_restore(vm)
            case Repair.MARK_STOPPED:
                await self._disconnect(vm)
                # Said at once: what cannot be finished now a later round finishes as any other stop.
                vm = await context.registry.move(
                    vm, VMState.STOPPING, error="it stopped without being asked to"
                )
                await context.backend.stop(key)  # removes what a machine that ended by itself leaves
                await context.registry.move(vm, VMState.STOPPED, error=vm.error)
            case Repair.MARK_GONE:
                await self._disconnect(vm)
                await context.registry.move(vm, VMState.ERROR, error="its machine and files are gone")
            case Repair.STOP_AGAIN:
                await context.backend.stop(key)
            case Repair.PAUSE_AGAIN:
                await hold(context, vm)
            case Repair.LET_GO:
                await let_go(context, vm)

    async def _disconnect(self, vm: VM) -> None:
        """Nothing runs there any more: let what waits for it hear so, and be recorded."""
        await self._context.connections.close(key_of(vm))
        await self._executions.settled(vm.id)
        self._executions.forget_machine(key_of(vm))

    async def _undo_restore(self, vm: VM) -> None:
        """The switch did not happen: remove the new machine and say what the present one is."""
        context = self._context
        await context.backend.destroy(MachineKey(vm.id, vm.generation + 1))
        machine = await context.backend.inspect(key_of(vm))
        found = repair(VMState.RUNNING, machine)
        if found is None:
            await context.registry.move(
                vm, VMState.RUNNING, started_at=vm.started_at, stopped_at=vm.stopped_at
            )
        elif found is Repair.MARK_STOPPED:
            await context.backend.stop(key_of(vm))
            await context.registry.move(vm, VMState.STOPPED, stopped_at=vm.stopped_at or context.clock())
        else:
            await self._act(vm, found)

    # -- executions of an earlier server

    async def inherit(self) -> None:
        """Note which executions an earlier server left running; once, before anything else runs."""
        running = await self._context.store.executions.running()
        self._inherited = frozenset(execution.id for execution in running)

    async def _take_over(self) -> bool:
        """Follow or settle every execution an earlier server left; true while some had to wait."""
        store = self._context.store
        left: dict[int, list[Execution]] = {}
        for execution in await store.executions.running():
            if execution.id in self._inherited and not self._executions.holds(execution.id):
                left.setdefault(execution.vm_id, []).append(execution)
        waiting = False
        for vm_id, executions in left.items():
            waiting = not await self._take_over_from(vm_id, executions) or waiting
        if not waiting:
            await self._context.outputs.sweep()
        return waiting

    async def _take_over_from(self, vm_id: int, executions: list[Execution]) -> bool:
        """Those of one VM; false where its agent does not answer yet."""
        context = self._context
        vm = context.registry.get(vm_id)
        # One that is paused keeps what runs in it, and answers when it goes on.
        if vm is not None and (context.locks.busy(vm_id) or vm.state in (*_UNDECIDED, VMState.PAUSED)):
            return False
        if vm is None:
            await context.store.executions.lose_running(vm_id, "the VM was deleted while it ran")
            return True
        if vm.state is not VMState.RUNNING:
            for execution in executions:
                await self._executions.lose(vm, execution, _lost(vm))
            return True
        try:
            await self._executions.note_oom_kills(key_of(vm))
            known = {number for number, _ in await context.connections.get(key_of(vm)).executions()}
        except InfrastructureFailure as error:
            logger.warning("VM %s: its executions cannot be taken over yet: %s", vm_id, error)
            return False
        for execution in executions:
            if execution.id in known:
                self._executions.adopt(vm, execution)
            else:
                await self._executions.lose(
                    vm, execution, "the server ended before its start was certain; it is not running"
                )
        return True

    # -- what no row knows

    async def _destroy_strangers(self, machines: Mapping[MachineKey, Machine]) -> None:
        """Destroy machines that no row knows, each on its second sighting and with nobody at work on it."""
        context = self._context
        seen: set[MachineKey] = set()
        for key in machines:
            vm = context.registry.get(key.vm_id)
            if context.locks.busy(key.vm_id) or (vm is not None and key.generation == vm.generation):
                continue
            if key not in self._strangers:
                seen.add(key)
                continue
            logger.info("destroying %s, which no row knows", key)
            context.telemetry.metrics.repairs.add("destroy_stranger")
            try:
                async with context.locks.holding(key.vm_id):
                    vm = context.registry.get(key.vm_id)
                    if vm is None or key.generation != vm.generation:
                        await context.backend.destroy(key)
            except InfrastructureFailure as error:
                logger.warning("%s could not be destroyed: %s", key, error)
                seen.add(key)
        self._strangers = seen

    async def _settle_snapshots(self) -> None:
        """Undo snapshots that were announced and not made, remove those of deleted VMs, and strange ones."""
        context = self._context
        backend = context.backend
        if not isinstance(backend, SupportsSnapshot):
            return
        rows = await context.store.snapshots.all()
        for row in rows:
            if not context.locks.busy(row.vm_id) and await self._unsettled(row):
                await self._settle(row)
        if self._rounds % SNAPSHOTS_EVERY > 1:
            return
        known = {row.reference for row in rows}
        strange = {kept.reference for kept in await backend.list_snapshots()} - known
        for reference in strange & self._strange_snapshots:
            await backend.delete_snapshot(reference)
        self._strange_snapshots = strange - self._strange_snapshots

    async def _unsettled(self, row: Snapshot) -> bool:
        if row.id in self._snapshots.incoming:
            return False
        if row.state is SnapshotState.KEPT:
            return not await self._snapshots.needed(row)
        return row.state is not SnapshotState.READY or self._context.registry.get(row.vm_id) is None

    async def _settle(self, seen: Snapshot) -> None:
        context = self._context
        async with context.locks.holding(seen.vm_id):
            for row in await context.store.snapshots.all():
                if row.id == seen.id and await self._unsettled(row):
                    try:
                        await self._snapshots.remove(row)
                    except InfrastructureFailure as error:
                        logger.warning("snapshot %s could not be removed: %s", row.id, error)


_UNDECIDED = frozenset({VMState.CREATING, VMState.STARTING, VMState.STOPPING, VMState.RESTORING})


def _lost(vm: VM) -> str:
    return f"the VM was found {vm.state.value} after the server ended" + (f": {vm.error}" if vm.error else "")
