"""One verb at a time on one machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from vmpool.backends.base import MachineKey


class Holding:
    """Locks by key; each goes when nobody waits for it."""

    def __init__(self) -> None:
        self._keys: dict[MachineKey, tuple[anyio.Lock, int]] = {}

    @asynccontextmanager
    async def __call__(self, key: MachineKey) -> AsyncIterator[None]:
        """Hold the key alone for the block."""
        lock, holders = self._keys.get(key, (anyio.Lock(), 0))
        self._keys[key] = lock, holders + 1
        try:
            async with lock:
                yield
        finally:
            lock, holders = self._keys.pop(key)
            if holders > 1:
                self._keys[key] = lock, holders - 1
