"""Pausing VMs and letting them go on: by a verb, by being used, and by having been idle for long.

The row says PAUSED before the machine is held, and RUNNING after it was let go: whoever is cut off in between
leaves a row that says PAUSED, and the reconciler holds the machine again.
"""

from __future__ import annotations

import logging
import math

import anyio

from vmpool.domain import VM, VMState
from vmpool.errors import Conflict, IllegalTransition, InfrastructureFailure
from vmpool.pool.context import Context
from vmpool.pool.contexts.contexts import Contexts
from vmpool.pool.executions import Executions
from vmpool.pool.holding import hold, let_go, power
from vmpool.pool.lifecycle import Lifecycle

logger = logging.getLogger(__name__)


class Pausing:
    """What holds a VM keeps its memory, its services and its idle contexts; it computes nothing."""

    def __init__(
        self, context: Context, executions: Executions, contexts: Contexts, lifecycle: Lifecycle
    ) -> None:
        self._context = context
        self._executions = executions
        self._contexts = contexts
        self._lifecycle = lifecycle

    async def pause(self, vm: VM) -> VM:
        """Hold a running VM; a paused one is answered as it is.

        Conflict while code runs in it that has a time limit, which would go on; IllegalTransition for a VM
        that does not run; Unsupported; InfrastructureFailure, after which it runs as before.
        """
        context = self._context
        power(context)
        async with self._lifecycle.verb(vm) as vm:
            if vm.state is VMState.PAUSED:
                return vm
            self._check(vm)
            vm = await context.registry.move(vm, VMState.PAUSED, sources=(VMState.RUNNING,))
            try:
                self._check(vm)  # nothing begins any more; something may have begun meanwhile
                await hold(context, vm)
            except (Conflict, InfrastructureFailure):
                with anyio.move_on_after(context.settings.cleanup_timeout, shield=True):
                    await self._go_on(vm)
                raise
        logger.info("VM %s '%s' is paused", vm.id, vm.name)
        return vm

    def _check(self, vm: VM) -> None:
        running = sum(
            run.execution is None or math.isfinite(run.execution.timeout)
            for run in self._executions.all_of(vm.id)
        )
        running += self._contexts.running(vm.id)
        if running:
            many = "an execution or cell runs" if running == 1 else f"{running} executions or cells run"
            raise Conflict(
                f"{many} in VM {vm.id} whose time limit would go on while it is paused; wait, cancel, or run"
                " in the background what may be held"
            )

    async def resume(self, vm: VM) -> VM:
        """Let a paused VM go on; a running one is answered as it is.

        IllegalTransition for a VM that is neither; InfrastructureFailure, after which it is in ERROR.
        """
        async with self._lifecycle.verb(vm) as vm:
            if vm.state is VMState.RUNNING:
                return vm
            if vm.state is not VMState.PAUSED:
                raise IllegalTransition(vm.id, vm.state.value, VMState.RUNNING.value)
            async with self._lifecycle.failing(vm):
                return await self._go_on(vm)

    async def awake(self, vm: VM) -> VM:
        """The VM, going on if it was paused: it is about to be used."""
        return await self.resume(vm) if vm.state is VMState.PAUSED else vm

    async def _go_on(self, vm: VM) -> VM:
        await let_go(self._context, vm)
        vm = await self._context.registry.move(vm, VMState.RUNNING, started_at=vm.started_at, stopped_at=None)
        self._lifecycle.opened(vm)
        self._context.suspect()  # what an earlier server left running in it can be followed now
        logger.info("VM %s '%s' goes on", vm.id, vm.name)
        return vm
