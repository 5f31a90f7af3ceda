"""What ends by itself: VMs past their time to live, idle VMs, executions nobody reads, old history."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import NoReturn

import anyio

from vmpool.domain import VM, VMState
from vmpool.errors import Conflict, VMPoolError
from vmpool.pool.ages import Ages
from vmpool.pool.context import Context
from vmpool.pool.contexts.contexts import Contexts
from vmpool.pool.controls import Controls
from vmpool.pool.executions import Executions
from vmpool.pool.lifecycle import IN_PROGRESS, Lifecycle
from vmpool.pool.pausing import Pausing
from vmpool.pool.status import Status
from vmpool.store import Retention

logger = logging.getLogger(__name__)

PRUNE_EVERY = 600.0
"""Seconds between two prunings of the history."""


class Due(Enum):
    """What a VM's own times ask for."""

    PAUSE = auto()
    STOP = auto()
    DELETE = auto()


def due(vm: VM, age: float, idle: float, in_flight: int) -> Due | None:
    """What is to be done with a VM at this moment.  Pure.  A time to live ends running executions too.

    age, idle: seconds since its creation, and since it was created, started or used last.
    """
    if vm.state in IN_PROGRESS:
        return None
    if vm.ttl is not None and age >= vm.ttl:
        return Due.DELETE
    if vm.state is not VMState.RUNNING or in_flight:
        return None
    if vm.idle_timeout is not None and idle >= vm.idle_timeout:
        return Due.STOP
    if vm.idle_pause is not None and idle >= vm.idle_pause:
        return Due.PAUSE
    return None


def last_used(vm: VM) -> datetime:
    """The latest of its creation, its start and its last execution."""
    return max(at for at in (vm.created_at, vm.started_at, vm.last_used_at) if at is not None)


class Expiry:
    """The loop that looks at every VM's times."""

    def __init__(
        self,
        context: Context,
        executions: Executions,
        controls: Controls,
        contexts: Contexts,
        lifecycle: Lifecycle,
        pausing: Pausing,
        status: Status,
    ) -> None:
        self._context = context
        self._executions = executions
        self._controls = controls
        self._contexts = contexts
        self._lifecycle = lifecycle
        self._pausing = pausing
        self._status = status
        self._ages = Ages(context.clock)
        self._pruned_at: float | None = None

    async def run(self) -> NoReturn:
        """For ever."""
        while True:
            await anyio.sleep(self._context.settings.expire_every)
            try:
                await self.round()
            except Exception:  # database away, or a defect of ours: neither may end the server
                logger.exception("expiry failed")

    async def round(self) -> None:
        """Pause, stop and delete what is due, all at once, and keep the history in bounds."""
        context = self._context
        self._status.forget_absent()
        self._controls.end_forsaken()
        vms = context.registry.all()
        self._ages.keep({vm.id for vm in vms})
        async with anyio.create_task_group() as tasks:
            for vm in vms:
                age = self._ages.of(vm.id, "created", vm.created_at)
                idle = self._ages.of(vm.id, "used", last_used(vm))
                running = self._executions.in_flight(vm.id) + self._contexts.running(vm.id)
                what = due(vm, age, idle, running)
                if what is not None and not context.locks.busy(vm.id):
                    tasks.start_soon(self._act, vm, what)
        await context.registry.flush()
        if self._pruned_at is None or anyio.current_time() - self._pruned_at >= PRUNE_EVERY:
            await self.prune()
            self._pruned_at = anyio.current_time()

    async def _act(self, vm: VM, what: Due) -> None:
        try:
            match what:
                case Due.DELETE:
                    await self._lifecycle.delete(vm)
                case Due.STOP:
                    await self._lifecycle.stop(vm)
                case Due.PAUSE:
                    await self._pausing.pause(vm)
        except Conflict:
            logger.info("VM %s was used or changed just now", vm.id)
        except VMPoolError:  # the row says how far it came; the reconciler or the next round goes on
            logger.exception("VM %s could not be ended", vm.id)

    async def prune(self) -> None:
        """Remove what is past its retention: history, deleted VMs that have none left, idempotency keys,
        events, the audit log."""
        settings, store = self._context.settings, self._context.store
        now = self._ages.now()
        removed = await store.executions.prune(
            now,
            Retention(
                age=timedelta(seconds=settings.keep_age),
                count=settings.keep_executions,
                size=settings.keep_bytes,
            ),
        )
        await self._context.outputs.forgotten(removed.files)
        await self._context.outputs.sweep()
        await store.network.prune(now - timedelta(seconds=settings.keep_age))
        await store.vms.purge(now - timedelta(seconds=settings.keep_age))
        await store.idempotency.prune(now)
        await store.events.prune(now - timedelta(seconds=settings.keep_events_age))
        await store.audit.prune(now - timedelta(seconds=settings.keep_audit))
        await store.audit.keep_newest(settings.keep_audit_entries, now)
