"""The spares there are: on the shelf, being made, leaving, or just handed on.

A spare is in one of these and never in two, and moves between them in one step of the event loop.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.errors import InfrastructureFailure, Unsupported, VMPoolError
from vmpool.pool.context import Context
from vmpool.pool.warm_pool.figures import Counters
from vmpool.pool.warm_pool.shelf import Shelf, Spare

logger = logging.getLogger(__name__)

AGAIN = 1.0, 60.0
"""Seconds until the next try after a spare could not be made, doubling up to the second figure."""
DROPS_AT_ONCE = 4
HOSTNAME = "vm"
"""What a spare is called until it is a VM."""


@dataclass(frozen=True, slots=True)
class _Making:
    template: str
    scope: anyio.CancelScope
    done: anyio.Event


class Stock:
    """Makes and destroys spares behind everybody's back.

    changed: called whenever one was made, has left or could not be made.  impossible: why there can be no
    spares here at all, once that is known.
    """

    def __init__(self, context: Context, changed: Callable[[], None]) -> None:
        self.shelf = Shelf()
        self.claimed: set[MachineKey] = set()
        self.counters = Counters()
        self.impossible: str | None = None
        self._context = context
        self._changed = changed
        self._making: dict[MachineKey, _Making] = {}
        self._leaving: set[MachineKey] = set()
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._drops = anyio.CapacityLimiter(DROPS_AT_ONCE)

    def owns(self, key: MachineKey) -> bool:
        """Whether this spare is in anybody's hands here."""
        return (
            key in self._making
            or key in self._leaving
            or key in self.claimed
            or any(spare.key == key for spare in self.shelf)
        )

    def making(self) -> dict[str, int]:
        """How many of each template are being made."""
        counted: dict[str, int] = {}
        for making in self._making.values():
            counted[making.template] = counted.get(making.template, 0) + 1
        return counted

    def leaving(self) -> int:
        """How many are being destroyed."""
        return len(self._leaving)

    def may_make(self, template: str) -> bool:
        """Whether it is time to try, after failures."""
        return self._not_before.get(template, 0) <= anyio.current_time()

    # -- making

    def make(self, spec: MachineSpec) -> None:
        """Begin to make one."""
        key = MachineKey.spare(secrets.randbits(48))
        making = self._making[key] = _Making(spec.template, anyio.CancelScope(), anyio.Event())
        self._context.tasks.start_soon(self._make, key, spec, making)

    async def _make(self, key: MachineKey, spec: MachineSpec, making: _Making) -> None:
        context = self._context
        try:
            with making.scope, anyio.fail_after(context.settings.create_timeout):
                machine = await context.backend.create(key, spec)
                await context.connections.get(key).ping()
                self.shelf.put(Spare(key, spec, machine.container_id))
                self.counters.made += 1
                self._failures.pop(spec.template, None)
                return
            await self.destroy(key)  # given up, perhaps at the last moment
        except Unsupported as error:
            logger.warning("there is no warm pool here: %s", error)
            self.impossible = error.message
        except Exception as error:  # also a defect of ours: nobody waits for a spare, so it ends no server
            if not isinstance(error, (VMPoolError, TimeoutError)):
                logger.exception("making %s failed", key)
            self._failed(spec.template, error)
            await self.destroy(key)
        finally:
            del self._making[key]
            making.done.set()
            self._changed()

    def _failed(self, template: str, error: Exception) -> None:
        self.counters.failed += 1
        failures = self._failures[template] = self._failures.get(template, 0) + 1
        pause = min(AGAIN[0] * 2.0 ** (failures - 1), AGAIN[1])
        self._not_before[template] = anyio.current_time() + pause
        logger.warning("no spare of %s could be made, again in %g s: %s", template, pause, error)

    async def stop_making(self) -> None:
        """Give up those being made, and wait until nothing of them is there."""
        for making in list(self._making.values()):
            making.scope.cancel()
            await making.done.wait()

    # -- giving up

    def drop(self, spare: Spare) -> None:
        """Destroy one that was taken from the shelf; the caller does not wait."""
        self._context.tasks.start_soon(self._leave, self._parting(spare))

    async def leave(self, spare: Spare) -> None:
        """The same, waiting for it."""
        await self._leave(self._parting(spare))

    def _parting(self, spare: Spare) -> MachineKey:
        self.counters.dropped += 1
        self._leaving.add(spare.key)
        return spare.key

    async def _leave(self, key: MachineKey) -> None:
        try:
            async with self._drops:
                await self.destroy(key)
        finally:
            self._leaving.discard(key)
            self._changed()

    async def destroy(self, key: MachineKey) -> None:
        """Destroy one that is nowhere here; what cannot be destroyed now the reconciler finds."""
        try:
            await self._context.connections.close(key)
            await self._context.backend.destroy(key)
        except InfrastructureFailure as error:
            logger.warning("%s could not be destroyed: %s", key, error)
        except Exception:  # as in _make
            logger.exception("destroying %s failed", key)

    async def close(self) -> None:
        """Destroy every spare."""
        await self.stop_making()
        async with anyio.create_task_group() as tasks:
            for spare in self.shelf:
                self.shelf.remove(spare.key)
                tasks.start_soon(self.leave, spare)
