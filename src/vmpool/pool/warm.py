"""Getting a VM ready before code comes, and never in the way of any that has come."""

from __future__ import annotations

import anyio

from vmpool.domain import VM, VMState
from vmpool.errors import InfrastructureFailure
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import Executions

SETTLE = 0.05
"""Seconds left to an execution that follows the VM's start at once: it is not to share the CPU with us."""


class Warmer:
    """Connects to a VM's agent in the background as soon as the VM runs."""

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
        try:
            await client.ping()
        except InfrastructureFailure:
            return
