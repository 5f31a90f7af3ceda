"""Keeps spares ready as the plan says, and hands them on.

Making, dropping and warming spares gives way to creates: nothing that anybody waits for stands on it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from logging import ERROR, WARNING
from typing import NoReturn

import anyio

from vmpool.backends.base import Machine, MachineKey, MachineSpec, MachineState, SupportsSpares
from vmpool.domain import VM, Census
from vmpool.domain.language import LANGUAGES
from vmpool.errors import InfrastructureFailure
from vmpool.pool.admission import memory_capacity
from vmpool.pool.context import Context, key_of
from vmpool.pool.requests import machine_spec
from vmpool.pool.warm import BEING_MADE, Warmer
from vmpool.pool.warm_pool.demand import Demand
from vmpool.pool.warm_pool.figures import Miss, WarmPoolFigures
from vmpool.pool.warm_pool.plan import plan, room, targets
from vmpool.pool.warm_pool.shelf import Spare
from vmpool.pool.warm_pool.stock import AGAIN, HOSTNAME, Stock

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at the plan while nothing happens."""
QUIET = 0.1
"""Seconds after a claim in which nothing is made: its first execution has the host to itself."""
SETTLE_AFTER = 0.5
"""Seconds from a claim until the engine is told of it."""


class WarmPool:
    """The spares of one pool.  `run` must be running; `close` destroys what nobody claimed."""

    def __init__(self, context: Context, warmer: Warmer) -> None:
        self._context = context
        self._warmer = warmer
        self._bounds = context.settings.warm_pool
        self._demand = Demand(self._bounds.remember)
        self._wake = anyio.Event()
        self._stock = Stock(context, lambda: self._wake.set())
        self._last_claim = 0.0
        self._closed = False
        able = isinstance(context.backend, SupportsSpares) and "spares" in context.info.capabilities
        if not self._bounds.maximum:
            self._stock.impossible = "switched off by the settings"
        elif not able:
            self._stock.impossible = f"the {context.info.name} backend can have none here"

    @property
    def _backend(self) -> SupportsSpares | None:
        """The backend, while there can be spares."""
        backend = self._context.backend
        if self._closed or self._stock.impossible is not None or not isinstance(backend, SupportsSpares):
            return None
        return backend

    # -- handing on

    async def claim(self, vm: VM) -> Machine | None:
        """The machine of a new row, out of what is ready; None where it must be made cold.

        The look and the taking are one step.  A spare that turns out not to run is destroyed, and the next
        one taken.
        """
        backend = self._backend
        if backend is None:
            return None
        spec, counters = machine_spec(vm), self._stock.counters
        if backend.can_claim(self._spec(vm.template), spec):
            self._demand.note(vm.template, anyio.current_time())
            self._wake.set()
        miss = Miss.UNSUITABLE if vm.template in self._stock.shelf.ready() else Miss.DRY
        while (spare := self._take(backend, spec)) is not None:
            machine = await self._hand_on(backend, spare, vm, spec)
            if machine is not None:
                counters.hits += 1
                return machine
            miss = Miss.FAILED
        counters.misses[miss] += 1
        logger.info("VM %s is made cold: spares of %s: %s", vm.id, vm.template, miss.value)
        await self._make_room()
        return None

    def _spec(self, template: str) -> MachineSpec:
        own = self._context.settings.isolation or self._context.info.isolation
        return MachineSpec(HOSTNAME, template, limits=self._bounds.limits, isolation=own)

    def _take(self, backend: SupportsSpares, spec: MachineSpec) -> Spare | None:
        language = LANGUAGES.get(spec.template)
        # An interpreter that waits has read its environment already.
        fresh = language is not None and any(name.startswith(language.reads_at_start) for name in spec.env)
        return self._stock.shelf.take(
            spec.template,
            lambda spare: backend.can_claim(spare.spec, spec) and not (spare.warm and fresh),
        )

    async def _hand_on(
        self, backend: SupportsSpares, spare: Spare, vm: VM, spec: MachineSpec
    ) -> Machine | None:
        key, claimed = key_of(vm), self._stock.claimed
        claimed.add(spare.key)
        try:
            machine = await backend.claim(spare.key, key, spec)
        except BaseException as error:
            claimed.discard(spare.key)
            self._stock.drop(spare)
            if not isinstance(error, InfrastructureFailure):
                raise
            logger.warning("%s could not be claimed: %s", spare.key, error)
            return None
        self._last_claim = anyio.current_time()
        self._context.connections.move(spare.key, key)
        if spare.warm:
            self._warmer.claimed(key, LANGUAGES[spare.spec.template])
        self._context.tasks.start_soon(self._settle, backend, spare, key)
        return machine

    async def _settle(self, backend: SupportsSpares, spare: Spare, key: MachineKey) -> None:
        """Once the row says whose the container is, and nobody is waiting: tell the engine too.

        It is told what the row says while the VM is held: limits may have changed since the claim.
        """
        context, pause = self._context, SETTLE_AFTER
        while True:
            await anyio.sleep(pause)
            vm = context.registry.get(key.vm_id)
            if vm is None or key_of(vm) != key:
                break
            if vm.container_id != spare.container_id or self._busy():
                continue
            try:
                async with context.locks.holding(key.vm_id):
                    vm = context.registry.get(key.vm_id)
                    if vm is not None and key_of(vm) == key:
                        await backend.settle(spare.container_id, key, machine_spec(vm))
                break
            except Exception as error:  # also a defect of ours: it ends no server
                text = "the engine could not be told that %s is %s: %s"
                known = isinstance(error, InfrastructureFailure)
                logger.log(WARNING if known else ERROR, text, spare.key, key, error, exc_info=not known)
                pause = min(2 * pause, AGAIN[1])
        self._stock.claimed.discard(spare.key)

    async def _make_room(self) -> None:
        """Before one more VM is made cold: spares leave where both together would be too many."""
        shelf, most, leaving = self._stock.shelf, self._room(), []
        for spare in shelf:
            if sum(shelf.ready().values()) + sum(self._stock.making().values()) <= most:
                break
            shelf.remove(spare.key)
            leaving.append(spare)
        if sum(self._stock.making().values()) > most:
            await self._stock.stop_making()
        for spare in leaving:
            await self._stock.leave(spare)

    # -- keeping

    async def run(self) -> NoReturn:
        """Follow the plan, for ever."""
        self._remember()
        while self._backend is not None:
            try:
                self._follow()
                await self._warm()
            except Exception:  # as in _settle
                logger.exception("the warm pool could not follow its plan")
            with anyio.move_on_after(LOOK_EVERY):
                await self._wake.wait()
            self._wake = anyio.Event()
            await self._quiet()
        await anyio.sleep_forever()
        raise AssertionError("sleep_forever returned")

    def _remember(self) -> None:
        """What was asked of an earlier server is demand too."""
        now, clock = anyio.current_time(), self._context.clock()
        for vm in self._context.registry.all():
            self._demand.note(vm.template, now - max(0.0, (clock - vm.created_at).total_seconds()))

    async def _quiet(self) -> None:
        while True:
            if not self._busy():
                return
            await anyio.sleep(QUIET)

    def _busy(self) -> bool:
        """Whether somebody waits for the engine, or has just been given a spare."""
        if anyio.current_time() < self._last_claim + QUIET:
            return True
        return any(vm.state in BEING_MADE for vm in self._context.registry.all())

    def _room(self) -> int:
        context, settings = self._context, self._context.settings
        vms = context.registry.all()
        now = Census(len(vms), 0, sum(vm.limits.memory for vm in vms), 0, 0)
        capacity = memory_capacity(settings, settings.host_memory or context.host.memory)
        return room(now, self._bounds, settings.max_total_vms, capacity)

    def _targets(self) -> dict[str, int]:
        offered = self._context.info.templates
        demand = self._demand.wanted(anyio.current_time())
        return targets(
            {name: count for name, count in demand.items() if name in offered},
            replace(
                self._bounds,
                minimum={name: count for name, count in self._bounds.minimum.items() if name in offered},
            ),
            self._room(),
        )

    def _follow(self) -> None:
        stock = self._stock
        making = stock.making()
        now = plan(self._targets(), stock.shelf.ready(), making, self._room() - stock.leaving())
        for template in now.drop:
            spare = stock.shelf.take_newest(template)
            if spare is not None:
                stock.drop(spare)
        makeable = [template for template in now.make if stock.may_make(template)]
        for template in makeable[: max(0, self._bounds.at_once - sum(making.values()))]:
            stock.make(self._spec(template))

    async def _warm(self) -> None:
        """Start the interpreters of those that will be claimed next."""
        for spare in self._stock.shelf.cold(self._bounds.interpreters):
            language = LANGUAGES.get(spare.spec.template)
            if language is None or self._busy():
                continue
            # Said before it is done: it may be claimed meanwhile.
            if self._warmer.can_warm_spare(language) and self._stock.shelf.warmed(spare.key):
                try:
                    await self._warmer.warm_spare(spare.key, language, spare.spec.limits.memory)
                except InfrastructureFailure as error:
                    logger.warning("%s cannot be warmed: %s", spare.key, error)
                    if self._stock.shelf.remove(spare.key):
                        self._stock.drop(spare)

    async def close(self) -> None:
        """Destroy every spare: the next server makes its own."""
        self._closed = True
        await self._stock.close()

    # -- what is found

    async def sort_out(self, machines: dict[MachineKey, Machine]) -> None:
        """Take the spares out of what the reconciler found, and act on those that are not as they should be.

        One that an earlier server had handed on becomes its VM's machine, in `machines` too.  Any other that
        is not ours, does not run, or was made from a template since replaced, is destroyed.
        """
        backend = self._context.backend
        if not isinstance(backend, SupportsSpares):
            return
        spares = {key: machines.pop(key) for key in list(machines) if key.is_spare}
        owners = {vm.container_id: vm for vm in self._context.registry.all() if vm.container_id}
        for key, machine in spares.items():
            if self._stock.owns(key):
                continue
            vm = owners.get(machine.container_id)
            if vm is None:
                logger.info("destroying %s, which nobody has claimed", key)
                await self._stock.destroy(key)
            else:
                machines[key_of(vm)] = replace(machine, key=key_of(vm))
                try:
                    await backend.settle(machine.container_id, key_of(vm), machine_spec(vm))
                except InfrastructureFailure as error:  # tried again; the rest of this round goes on
                    logger.warning("the engine could not be told that %s is %s: %s", key, key_of(vm), error)
        await self._drop_unfit(backend, spares)

    async def _drop_unfit(self, backend: SupportsSpares, found: dict[MachineKey, Machine]) -> None:
        shelf = self._stock.shelf
        known = list(shelf)
        if not known:
            return
        unfit = set(await backend.outdated_spares())
        for spare in known:
            machine = found.get(spare.key)
            if machine is not None and (spare.key in unfit or machine.state is MachineState.STOPPED):
                if shelf.remove(spare.key):
                    logger.info("%s is dropped: it does not run, or its template was replaced", spare.key)
                    self._stock.drop(spare)

    def figures(self) -> WarmPoolFigures:
        """What it has and what it has done since the server's start."""
        stock, counters = self._stock, self._stock.counters
        return WarmPoolFigures(
            enabled=self._backend is not None,
            reason=stock.impossible or "",
            ready=stock.shelf.ready(),
            wanted=self._targets() if self._backend is not None else {},
            making=sum(stock.making().values()),
            hits=counters.hits,
            misses=dict(counters.misses),
            made=counters.made,
            dropped=counters.dropped,
            failed=counters.failed,
        )
