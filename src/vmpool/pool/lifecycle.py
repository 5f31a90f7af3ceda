"""Making, starting, stopping and deleting VMs: an intent in the row, then the act, then the fact.

One verb at a time per VM.  A verb that is cancelled or fails half way leaves a row that announces work in
progress, and the reconciler finishes or undoes it; nothing here depends on being run to its end.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter

import anyio

from vmpool.backends.base import Machine, SupportsSpares
from vmpool.domain import VM, Census, Limits, NewVM, Snapshot, VMState
from vmpool.domain.template import Origin
from vmpool.errors import (
    BackendFailed,
    Conflict,
    InfrastructureFailure,
    VMNotFound,
    VMPoolError,
)
from vmpool.pool.admission import admit
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import Executions
from vmpool.pool.holding import let_go
from vmpool.pool.networks import Networks
from vmpool.pool.requests import VMRequest, machine_spec, settle
from vmpool.pool.warm import Warmer
from vmpool.pool.warm_pool.keeper import WarmPool
from vmpool.telemetry import Metrics, log_context

logger = logging.getLogger(__name__)

NOTHING = Origin()
"""Of a VM that begins empty."""
STOPPABLE = (VMState.RUNNING, VMState.PAUSED, VMState.ERROR)
IN_PROGRESS = frozenset(
    {VMState.CREATING, VMState.STARTING, VMState.STOPPING, VMState.RESTORING, VMState.DELETING}
)
STARTABLE = (VMState.STOPPED, VMState.ERROR)


class Making:
    """One create on its way, and what is counted of it."""

    def __init__(self, metrics: Metrics, template: str) -> None:
        self._metrics = metrics
        self._template = template
        self._began = perf_counter()
        self.warm = False

    def __str__(self) -> str:
        return f"{self._start} in {(perf_counter() - self._began) * 1000:.0f} ms"

    @property
    def _start(self) -> str:
        return "warm" if self.warm else "cold"

    def done(self) -> None:
        """The VM runs."""
        self._metrics.creates.add(self._template, self._start, "running")
        self._metrics.create_duration.observe(perf_counter() - self._began, self._start)

    def failed(self) -> None:
        """There will be no VM."""
        self._metrics.creates.add(self._template, self._start, "failed")


class Lifecycle:
    """The verbs that move a VM along the arrows of `vmpool.domain.ARROWS`."""

    def __init__(
        self,
        context: Context,
        executions: Executions,
        warmer: Warmer,
        warm_pool: WarmPool,
        networks: Networks,
    ) -> None:
        self._context = context
        self._executions = executions
        self._warmer = warmer
        self._warm_pool = warm_pool
        self._networks = networks
        self._making: dict[int, anyio.CancelScope] = {}

    async def create(
        self,
        user_id: int,
        asked: VMRequest,
        source: Snapshot | None = None,
        origin: Origin = NOTHING,
    ) -> VM:
        """Make a running VM.  source: a snapshot it is to have the files of.  origin: what its row says of
        that.

        Raises InvalidRequest, TemplateNotFound, NameTaken, QuotaExceeded, PoolFull, and
        InfrastructureFailure, after which no VM is there.  A cancelled create leaves none either.
        """
        context = self._context
        new = self.check(user_id, asked)
        if source is not None or origin is not NOTHING:
            new = replace(
                new,
                forked_from=origin.forked_from,
                template_id=origin.template_id,
                made_from=origin.made_from,
                build_id=origin.build_id,
                restored_from=None if source is None else source.id,
            )
        tracer, making = context.telemetry.tracer, Making(context.telemetry.metrics, new.template)
        with tracer.span("admission"):
            vm = await context.registry.insert(new, lambda now: self._admit(now, new.limits))
        log_context.for_vm(vm.id)
        try:
            async with context.locks.holding(vm.id):
                machine = await self._make(vm, making, source)
                vm = await self.running(vm, machine)
        except BaseException as error:
            making.failed()
            await self._unmake(vm, error)
            raise
        making.done()
        logger.info("VM %s '%s' runs: %s, %s", vm.id, vm.name, vm.template, making)
        return vm

    def check(self, user_id: int, asked: VMRequest) -> NewVM:
        """What `create` would insert; raises what it does for a request that cannot be."""
        settings, host = self._context.settings, self._context.host
        return settle(user_id, asked, self._context.info, settings, host.cpus, self._memory, host.disk)

    @property
    def _memory(self) -> int:
        return self._context.settings.host_memory or self._context.host.memory

    def _admit(self, now: Census, asked: Limits) -> None:
        admit(now, asked, self._context.settings, self._memory)

    async def _make(self, vm: VM, making: Making, source: Snapshot | None) -> Machine:
        """The machine of a new row; Conflict when a delete came in between."""
        context = self._context
        with anyio.move_on_after(context.settings.create_timeout) as scope:
            self._making[vm.id] = scope
            try:
                with context.telemetry.tracer.span("backend.create", {"vmpool.vm_id": vm.id}):
                    if source is not None:
                        spec = machine_spec(vm, source.reference)
                        return await context.backend.create(key_of(vm), spec)
                    spare = await self._warm_pool.claim(vm)
                    making.warm = spare is not None
                    return spare or await context.backend.create(key_of(vm), machine_spec(vm))
            finally:
                wanted = self._making.pop(vm.id, None)
        if wanted is None:
            raise Conflict(f"VM {vm.id} was deleted while it was being made")
        raise BackendFailed(f"the machine was not there after {context.settings.create_timeout:g} seconds")

    async def running(self, vm: VM, machine: Machine) -> VM:
        """Record that the machine runs, and begin what goes with it."""
        vm = await self._context.registry.move(
            vm,
            VMState.RUNNING,
            container_id=machine.container_id,
            isolation=machine.isolation,
            warnings=machine.warnings,
            error=None,
        )
        self.opened(vm)
        return vm

    def opened(self, vm: VM) -> None:
        """The VM has a running machine: let it out, and begin to warm it."""
        self._networks.soon(vm)
        self._warmer.soon(vm)

    async def _unmake(self, vm: VM, error: BaseException) -> None:
        """Leave nothing of a VM that was not made; what cannot be done in time is the reconciler's."""
        context = self._context
        with anyio.move_on_after(context.settings.cleanup_timeout, shield=True):
            try:
                async with context.locks.holding(vm.id):
                    current = context.registry.get(vm.id)
                    if current is not None and current.state is not VMState.DELETING:
                        current = await context.registry.move(current, VMState.DELETING, error=str(error))
                    if current is not None:
                        await self.destroy(current, error=str(error))
            except VMPoolError:
                context.suspect()

    async def start(self, vm: VM) -> VM:
        """Start a stopped VM with its files; a running one is answered as it is."""
        async with self.verb(vm) as vm:
            if vm.state is VMState.RUNNING:
                return vm
            return await self._start(vm)

    async def _start(self, vm: VM) -> VM:
        context = self._context
        vm = await context.registry.move(vm, VMState.STARTING, sources=STARTABLE)
        async with self.failing(vm):
            return await self.running(vm, await self.start_machine(vm))

    async def start_machine(self, vm: VM) -> Machine:
        """Have the backend start it, as what its row says it is."""
        backend = self._context.backend
        machine = await backend.start(key_of(vm))
        if isinstance(backend, SupportsSpares):
            await backend.settle(machine.container_id, key_of(vm), machine_spec(vm))
        return machine

    async def stop(self, vm: VM) -> VM:
        """End every process and keep the files; a stopped VM is answered as it is."""
        async with self.verb(vm) as vm:
            if vm.state is VMState.STOPPED:
                return vm
            return await self._stop(vm)

    async def _stop(self, vm: VM) -> VM:
        context = self._context
        if vm.state is VMState.PAUSED:  # its programs are to hear of their end
            async with self.failing(vm):
                await let_go(context, vm)
        vm = await context.registry.move(vm, VMState.STOPPING, sources=STOPPABLE)
        async with self.failing(vm):
            await self.end_processes(vm, "stopped")
        return await context.registry.move(vm, VMState.STOPPED)

    async def restart(self, vm: VM) -> VM:
        """Stop, if it is not stopped, and start; files stay."""
        async with self.verb(vm) as vm:
            if vm.state is not VMState.STOPPED:
                vm = await self._stop(vm)
            return await self._start(vm)

    async def delete(self, vm: VM) -> None:
        """Destroy the machine and all its files; its history stays.  A VM being made is given up."""
        making = self._making.pop(vm.id, None)
        if making is not None:
            making.cancel()
        async with self.verb(vm) as vm:
            if vm.state is not VMState.DELETING:  # a second try after one that failed
                vm = await self._context.registry.move(vm, VMState.DELETING)
            await self.destroy(vm)

    async def destroy(self, vm: VM, error: str | None = None) -> None:
        """Carry a VM whose row is DELETING to its end.  error: why, kept with the row."""
        context = self._context
        key = key_of(vm)
        self._executions.ending(vm.id, "deleted")
        await context.backend.destroy(key)
        await context.connections.close(key)
        await self._executions.settled(vm.id)
        self._executions.forget_machine(key)
        await context.secrets.forget_vm(vm)
        await context.registry.move(vm, VMState.DELETED, error=error)
        context.feed.close(vm.id)
        logger.info("VM %s '%s' is deleted", vm.id, vm.name)

    async def end_processes(self, vm: VM, verb: str) -> None:
        """Ask the agent to end everything, then have the backend do it; records what was running."""
        context = self._context
        key, grace = key_of(vm), context.settings.stop_grace
        self._executions.ending(vm.id, verb)
        if context.connections.has(key):
            with anyio.move_on_after(grace + 1):
                try:
                    await context.connections.get(key).shutdown(grace)
                except InfrastructureFailure:
                    pass  # the backend ends it without being asked nicely
        await context.backend.stop(key)
        await context.connections.close(key)
        await self._executions.settled(vm.id)
        self._executions.forget_machine(key)

    @asynccontextmanager
    async def verb(self, vm: VM) -> AsyncIterator[VM]:
        """Hold the VM alone and look at it again; VMNotFound when it was deleted meanwhile.

        A block left early with work in progress leaves the reconciler a hint.
        """
        registry = self._context.registry
        async with self._context.locks.holding(vm.id):
            current = registry.get(vm.id)
            if current is None:
                raise VMNotFound(vm.id)
            try:
                yield current
            except BaseException:
                current = registry.get(vm.id)
                if current is not None and current.state in IN_PROGRESS:
                    self._context.suspect()
                raise

    @asynccontextmanager
    async def failing(self, vm: VM) -> AsyncIterator[None]:
        """When the backend cannot do it, the row says ERROR and why."""
        try:
            yield
        except InfrastructureFailure as error:
            with anyio.move_on_after(self._context.settings.cleanup_timeout, shield=True):
                await self._context.registry.move(vm, VMState.ERROR, error=str(error))
            raise
