"""Getting a VM ready before code comes, and never in the way of any that has come."""

from __future__ import annotations

import logging

import anyio

from vmpool.agent import warm_python
from vmpool.domain import VM, VMState, language_named
from vmpool.domain.language import Warm
from vmpool.errors import InfrastructureFailure
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import Executions
from vmpool.pool.runner import standing_environment

logger = logging.getLogger(__name__)

SETTLE = 0.05
"""Seconds left to an execution that follows the VM's start at once: it is not to share the CPU with us."""
ARGV = {"python": ("python3", "-c", warm_python.TEXT)}
"""What a warm interpreter is started as, by language."""


class Warmer:
    """Connects to a VM's agent and starts its warm interpreter, in the background, once the VM runs."""

    def __init__(self, context: Context, executions: Executions) -> None:
        self._context = context
        self._executions = executions

    def soon(self, vm: VM) -> None:
        """Begin; the caller does not wait and is not told of failures: being warm is never needed."""
        self._context.tasks.start_soon(self._warm, vm)

    async def _warm(self, vm: VM) -> None:
        key = key_of(vm)
        client = self._context.connections.get(key)
        await anyio.sleep(SETTLE)
        await self._executions.settled(vm.id)
        current = self._context.registry.get(vm.id)
        if current is None or current.state is not VMState.RUNNING or key_of(current) != key:
            return
        language, spares = language_named(vm.language), self._context.settings.warm_spares
        try:
            if language.warm is Warm.FORK and spares:
                env = standing_environment(vm, language)
                await client.warm(
                    language.name, ARGV[language.name], env, strategy=language.warm.value, spares=spares
                )
            else:
                await client.ping()
        except InfrastructureFailure as error:  # an older agent, or no memory to spare: executions start cold
            logger.info("VM %s stays cold: %s", vm.id, error)
