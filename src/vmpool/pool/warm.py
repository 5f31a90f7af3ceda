"""Getting a VM ready before code comes, never in the way of any that has come, and only while it is used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NoReturn

import anyio

from vmpool.agent.base import AgentClient
from vmpool.backends.base import MachineKey
from vmpool.domain import VM, Language, VMState, language_named
from vmpool.domain.language import Warm, WarmStart
from vmpool.errors import InfrastructureFailure
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import Executions
from vmpool.pool.interpreters import interpreter
from vmpool.pool.runner import BASE_ENV, standing_environment

logger = logging.getLogger(__name__)

SETTLE = 0.05
"""Seconds left to an execution that follows the VM's start at once: it is not to share the CPU with us."""
PACE = 0.02
"""Seconds between two VMs' interpreters starting: many at once would take the CPU from those who wait."""
GIVE_WAY = 40
"""Times SETTLE that an interpreter's start gives way to VMs that are being made."""
BEING_MADE = (VMState.CREATING, VMState.STARTING)
LOOK_EVERY = 5.0
"""Seconds between two looks for idle interpreters, at most."""


class Warmer:
    """Starts warm interpreters in the background, one VM after another, and ends those nobody uses.

    An interpreter belongs to a machine and a language.  What is warm here is what was asked for last: an
    agent that lost its interpreter starts it again by itself.
    """

    def __init__(self, context: Context, executions: Executions) -> None:
        self._context = context
        self._executions = executions
        self._asked: dict[MachineKey, set[str]] = {}
        self._used: dict[MachineKey, float] = {}
        self._brought: dict[MachineKey, str] = {}
        self._turn = anyio.Lock()
        executions.dispatched = self.used

    def soon(self, vm: VM) -> None:
        """The VM runs.  The caller does not wait and is not told of failures: being warm is never needed."""
        self._forget(key_of(vm))
        brought = self._brought.pop(key_of(vm), None)
        if brought is not None:
            self._asked[key_of(vm)] = {brought}
            self._used[key_of(vm)] = anyio.current_time()
        if self._context.settings.warm_start is WarmStart.CREATE:
            self._ask(vm, language_named(vm.language))
        if not self._asked.get(key_of(vm)):
            self._context.tasks.start_soon(self._connect, vm)

    def found(self, vm: VM) -> None:
        """The VM was running before this server: it may have an interpreter, which idles from now on."""
        self.soon(vm)
        language = language_named(vm.language)
        if language.warm is not Warm.NONE and self._context.settings.warm_spares:
            self._used.setdefault(key_of(vm), anyio.current_time())

    def can_warm_spare(self, language: Language) -> bool:
        """Whether an interpreter is kept warm at all, and costs a spare little: a fork shares its memory."""
        return language.warm is Warm.FORK and bool(self._context.settings.warm_spares)

    async def warm_spare(self, key: MachineKey, language: Language, memory: int) -> None:
        """Start the interpreter of a machine of `memory` MB that is nobody's yet; InfrastructureFailure."""
        client = self._context.connections.get(key)
        await self._start(client, language, memory, {**BASE_ENV, **language.env})

    def claimed(self, key: MachineKey, language: Language) -> None:
        """The machine comes with this interpreter: it idles from `soon` on."""
        self._brought[key] = language.name

    def used(self, vm: VM, language: str) -> None:
        """Source in this language was just handed to the VM's agent."""
        self._ask(vm, language_named(language))

    async def run(self) -> NoReturn:
        """End the interpreters of idle VMs, for ever."""
        idle = self._context.settings.warm_idle
        while not idle:
            await anyio.sleep_forever()
        while True:
            await anyio.sleep(min(LOOK_EVERY, idle / 4))
            for key, used in list(self._used.items()):
                if not self._runs(key):
                    self._forget(key)
                elif used + idle <= anyio.current_time() and not self._executions.in_flight(key.vm_id):
                    await self._cool(key)

    # -- inside

    def _ask(self, vm: VM, language: Language) -> None:
        if language.warm is Warm.NONE or not self._context.settings.warm_spares:
            return
        key = key_of(vm)
        self._used[key] = anyio.current_time()
        asked = self._asked.setdefault(key, set())
        if language.name not in asked and interpreter(language, vm.limits.memory) is not None:
            asked.add(language.name)
            self._context.tasks.start_soon(self._warm, vm, key, language)

    def _runs(self, key: MachineKey) -> bool:
        vm = self._context.registry.get(key.vm_id)
        return vm is not None and vm.state is VMState.RUNNING and key_of(vm) == key

    def _forget(self, key: MachineKey) -> None:
        self._asked.pop(key, None)
        self._used.pop(key, None)

    async def _connect(self, vm: VM) -> None:
        client = self._context.connections.get(key_of(vm))
        try:
            await client.ping()
        except InfrastructureFailure as error:
            logger.info("VM %s does not answer yet: %s", vm.id, error)

    async def _warm(self, vm: VM, key: MachineKey, language: Language) -> None:
        client = self._context.connections.get(key)
        await anyio.sleep(SETTLE)
        await self._executions.settled(vm.id)
        async with self._turn:
            await self._give_way()
            if not self._runs(key):
                self._forget(key)
                return
            try:
                await self._start(client, language, vm.limits.memory, standing_environment(vm, language))
            except InfrastructureFailure as error:  # an older agent, or no memory to spare: it starts cold
                logger.info("VM %s stays cold: %s", vm.id, error)
            await anyio.sleep(PACE)

    async def _start(
        self, client: AgentClient, language: Language, memory: int, env: Mapping[str, str]
    ) -> None:
        warm = interpreter(language, memory)
        assert warm is not None
        await client.warm(
            language.name,
            warm.argv,
            env,
            strategy=warm.strategy.value,
            # A fork shares its memory; a process of its own does not, so there is never more than one.
            spares=self._context.settings.warm_spares if warm.strategy is Warm.FORK else 1,
            command=warm.command,
            fixed=warm.fixed,
            fixed_cwd=warm.fixed_cwd,
        )

    async def _give_way(self) -> None:
        """Until no VM is being made, but not for long."""
        for _ in range(GIVE_WAY):
            if not any(vm.state in BEING_MADE for vm in self._context.registry.all()):
                return
            await anyio.sleep(SETTLE)

    async def _cool(self, key: MachineKey) -> None:
        """End its interpreters and give their memory back; the next use starts them again."""
        vm = self._context.registry.get(key.vm_id)
        assert vm is not None
        names = self._asked.get(key) or {language_named(vm.language).name}
        self._forget(key)
        client = self._context.connections.get(key)
        try:
            for name in sorted(names):
                await client.warm(name, (), {}, strategy=language_named(name).warm.value, spares=0)
        except InfrastructureFailure as error:
            logger.info("VM %s keeps its interpreter: %s", key.vm_id, error)
