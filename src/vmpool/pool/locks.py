"""One lock per VM for the verbs that change its state; executions take none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class KeyedLocks:
    """Mutual exclusion by VM id.  An entry exists only while somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: dict[int, tuple[anyio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, vm_id: int) -> AsyncIterator[None]:
        """Wait for the VM's other verbs, then hold it until the block ends."""
        lock, holders = self._locks.get(vm_id, (anyio.Lock(), 0))
        self._locks[vm_id] = (lock, holders + 1)
        try:
            async with lock:
                yield
        finally:
            lock, holders = self._locks[vm_id]
            if holders == 1:
                del self._locks[vm_id]
            else:
                self._locks[vm_id] = (lock, holders - 1)

    def busy(self, vm_id: int) -> bool:
        """Whether a verb holds or awaits this VM now."""
        return vm_id in self._locks
