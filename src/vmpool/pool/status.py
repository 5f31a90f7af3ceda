"""Live figures of a VM, and of the pool with its host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import anyio.to_thread

from vmpool.backends.base import BackendInfo, MachineKey, Usage
from vmpool.domain import VM, Census, VMState
from vmpool.pool.admission import memory_capacity
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import Executions
from vmpool.pool.host import HostFigures
from vmpool.pool.registry import states
from vmpool.pool.requests import chosen_isolation, offered_isolations
from vmpool.pool.warm_pool.figures import WarmPoolFigures
from vmpool.pool.warm_pool.keeper import WarmPool

SAMPLE = 0.1
"""Seconds between two looks at the CPU time of a VM nobody looked at before."""
STALE = 60.0
"""Seconds after which an earlier look is too old to compare with."""


@dataclass(frozen=True, slots=True)
class VMStatus:
    """A VM and what it uses.  uptime: seconds since its start.  cpu_percent: of one core; None: not known."""

    vm: VM
    usage: Usage
    uptime: float | None
    cpu_percent: float | None
    executions: int


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """What the pool allows.  memory: MB all VMs' limits may sum up to.  Times: seconds."""

    max_vms_per_user: int
    max_total_vms: int
    max_execution_time: float
    default_timeout: float
    max_executions_in_flight: int
    memory: int


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """Limits, what is taken (`use.of_user`: the caller's VMs), backend, host and warm pool.

    isolation: what a VM gets that names none.  isolations: what it may ask for.
    """

    limits: PoolLimits
    use: Census
    executions: int
    states: Mapping[VMState, int]
    backend: BackendInfo
    isolation: str
    isolations: tuple[str, ...]
    host: HostFigures
    warm_pool: WarmPoolFigures


@dataclass(frozen=True, slots=True)
class UserUse:
    """What one user takes.  running: of `vms`.  cpu, memory, disk: sums of limits, in cores, MB and MB."""

    vms: int
    running: int
    cpu: float
    memory: int
    disk: int
    executions: int


class Status:
    """Answers both questions; remembers the last look at each VM's CPU time."""

    def __init__(self, context: Context, executions: Executions, warm_pool: WarmPool) -> None:
        self._context = context
        self._warm_pool = warm_pool
        self._executions = executions
        self._looks: dict[MachineKey, tuple[float, float]] = {}

    async def of_vm(self, vm: VM) -> VMStatus:
        """The VM's figures; empty ones for a VM that neither runs nor is paused."""
        usage, percent = Usage(), None
        if vm.state in (VMState.RUNNING, VMState.PAUSED):
            usage, percent = await self._measure(key_of(vm))
        uptime = None
        if vm.state is VMState.RUNNING and vm.started_at is not None:
            uptime = max(0.0, (self._context.clock() - vm.started_at).total_seconds())
        return VMStatus(vm, usage, uptime, percent, self._executions.in_flight(vm.id))

    async def _measure(self, key: MachineKey) -> tuple[Usage, float | None]:
        """CPU use since the last look, or over a short sample where there was none."""
        backend = self._context.backend
        usage = await backend.usage(key)
        if usage.cpu_seconds is None:
            return usage, None
        now, seconds = anyio.current_time(), usage.cpu_seconds
        earlier = self._looks.get(key)
        if earlier is None or not SAMPLE <= now - earlier[0] <= STALE:
            earlier = (now, seconds)
            await anyio.sleep(SAMPLE)
            usage = await backend.usage(key)
            if usage.cpu_seconds is None:  # it was stopped meanwhile
                return usage, None
            now, seconds = anyio.current_time(), usage.cpu_seconds
        self._looks[key] = (now, seconds)
        return usage, max(0.0, 100 * (seconds - earlier[1]) / (now - earlier[0]))

    def use_of(self, user_id: int) -> UserUse:
        """What a user takes of the pool."""
        vms = self._context.registry.of_user(user_id)
        return UserUse(
            vms=len(vms),
            running=sum(vm.state is VMState.RUNNING for vm in vms),
            cpu=sum(vm.limits.cpu for vm in vms),
            memory=sum(vm.limits.memory for vm in vms),
            disk=sum(vm.limits.disk for vm in vms),
            executions=sum(self._executions.in_flight(vm.id) for vm in vms),
        )

    def forget_absent(self) -> None:
        """Drop looks at machines that are no more."""
        present = {key_of(vm) for vm in self._context.registry.all()}
        self._looks = {key: look for key, look in self._looks.items() if key in present}

    async def of_pool(self, user_id: int) -> PoolStatus:
        """The pool as this user sees it."""
        context = self._context
        settings, vms = context.settings, context.registry.all()
        return PoolStatus(
            limits=PoolLimits(
                max_vms_per_user=settings.max_vms_per_user,
                max_total_vms=settings.max_total_vms,
                max_execution_time=settings.max_timeout,
                default_timeout=settings.default_timeout,
                max_executions_in_flight=settings.max_in_flight,
                memory=memory_capacity(settings, settings.host_memory or context.host.memory),
            ),
            use=Census(
                vms=len(vms),
                of_user=sum(vm.user_id == user_id for vm in vms),
                memory=sum(vm.limits.memory for vm in vms),
                cpu=sum(vm.limits.cpu for vm in vms),
                disk=sum(vm.limits.disk for vm in vms),
            ),
            executions=self._executions.total_in_flight(),
            states=states(vms),
            backend=context.info,
            isolation=chosen_isolation(None, context.info, settings),
            isolations=offered_isolations(context.info, settings),
            host=await anyio.to_thread.run_sync(context.host.look),
            warm_pool=self._warm_pool.figures(),
        )
