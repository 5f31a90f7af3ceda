"""Other limits for a VM that is there: an intent in the row, then the machine, then the fact.

The row keeps the limits that hold beside those that are wanted.  Whoever is cut off in between leaves both,
and the reconciler goes on to the wanted ones, or where they are refused back to the others.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace

import anyio

from vmpool.backends.base import SupportsResize
from vmpool.domain import VM, VMState
from vmpool.errors import Conflict, InfrastructureFailure, Unsupported, VMPoolError
from vmpool.pool.admission import admit_change
from vmpool.pool.context import Context, key_of
from vmpool.pool.lifecycle import Lifecycle
from vmpool.pool.requests import LimitsRequest, check_limits, machine_spec

logger = logging.getLogger(__name__)

RESIZABLE = (VMState.RUNNING, VMState.STOPPED)


class Resizing:
    """Changes limits, and finishes changes that were cut off."""

    def __init__(self, context: Context, lifecycle: Lifecycle) -> None:
        self._context = context
        self._lifecycle = lifecycle

    def _power(self) -> SupportsResize:
        backend, info = self._context.backend, self._context.info
        if not isinstance(backend, SupportsResize) or "resize" not in info.capabilities:
            raise Unsupported("limits", info.name, "delete the VM and create it with others")
        return backend

    async def change(self, vm: VM, asked: LimitsRequest) -> VM:
        """The VM with these limits, which hold when this returns.

        InvalidRequest for a limit no VM could have, PoolFull, Conflict for a VM that neither runs nor is
        stopped, Unsupported where this one cannot become that here, BackendFailed where the kernel refuses;
        the VM then has what it had.
        """
        context, backend = self._context, self._power()
        settings, host = context.settings, context.host
        memory = settings.host_memory or host.memory
        async with self._lifecycle.verb(vm) as vm:
            if vm.state not in RESIZABLE:
                raise Conflict(f"VM {vm.id} is {vm.state}; limits change while it is running or stopped")
            wanted = asked.over(vm.limits)
            check_limits(wanted, settings, host.cpus, memory, host.disk)
            if wanted == vm.limits and vm.wanted is None:
                return vm
            have = vm.limits
            vm = await context.registry.intend(
                vm, wanted, lambda now: admit_change(now, have, wanted, settings, memory)
            )
            try:
                return await self._carry_out(backend, vm)
            finally:
                if (left := context.registry.get(vm.id)) is not None and left.wanted is not None:
                    context.suspect()

    async def _carry_out(self, backend: SupportsResize, vm: VM) -> VM:
        """From what a row wants to what it has; where that is refused, back, and the refusal is raised."""
        context, key = self._context, key_of(vm)
        assert vm.wanted is not None, "only a VM that is to have other limits is given some"
        spec = machine_spec(vm)
        try:
            machine = await backend.resize(key, replace(spec, limits=vm.wanted))
        except (InfrastructureFailure, Unsupported) as refused:
            with (
                anyio.move_on_after(context.settings.cleanup_timeout, shield=True),
                suppress(InfrastructureFailure),  # then the row keeps the intent
            ):
                if not isinstance(refused, Unsupported):
                    await backend.resize(key, spec)
                await context.registry.record(vm, wanted=None)
            raise
        vm = await context.registry.record(vm, limits=vm.wanted, wanted=None, warnings=machine.warnings)
        logger.info("VM %s '%s' has other limits", vm.id, vm.name)
        return vm

    async def finish(self) -> None:
        """Every change that was cut off and that nobody works on; what fails waits for the next call."""
        context = self._context
        left = [vm for vm in context.registry.all() if vm.wanted is not None and vm.state in RESIZABLE]
        for seen in left:
            if context.locks.busy(seen.id):
                continue
            async with context.locks.holding(seen.id):
                vm = context.registry.get(seen.id)
                if vm is None or vm.wanted is None or vm.state not in RESIZABLE:
                    continue
                try:
                    await self._carry_out(self._power(), vm)
                except VMPoolError as refused:
                    logger.warning("VM %s keeps the limits it has: %s", vm.id, refused)
