"""Streams between clients and VMs that last: carried, and ended when they are not allowed any more."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import anyio

from vmpool.errors import VMPoolError
from vmpool.network.relay import Meter, Stream, relay

ENDING_SECONDS = 5.0
"""For closing a stream whose far side does not take what it was sent."""
ALLOWED_EVERY = 15.0
"""Seconds between two looks whether whoever is at the other end may still be."""


class Watch:
    """What ends a stream before its ends do.

    allowed: raises a VMPoolError once whoever it is for may not have it any more, which is then `problem`.
    closing: set when the server ends; None for a request that is left its time.
    """

    def __init__(self, allowed: Callable[[], Awaitable[None]], closing: anyio.Event | None = None) -> None:
        self._allowed = allowed
        self._closing = closing
        self.problem: VMPoolError | None = None

    async def until_over(self, whole: anyio.CancelScope) -> None:
        """Cancel it when it is to end; for ever, if it is not."""
        try:
            while True:
                with anyio.move_on_after(ALLOWED_EVERY):
                    if self._closing is None:
                        await anyio.sleep_forever()
                    else:
                        await self._closing.wait()
                        break
                await self._allowed()
        except VMPoolError as problem:
            self.problem = problem
        whole.cancel()


async def carry(vm: Stream, client: Stream, gone: Callable[[], Awaitable[None]]) -> None:
    """Carry bytes until both directions have ended or one broke, or the client is `gone`."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_until, gone, tasks.cancel_scope)
        await relay(vm, client, Meter(math.inf, lambda up, down: True))
        tasks.cancel_scope.cancel()


async def _until(gone: Callable[[], Awaitable[None]], whole: anyio.CancelScope) -> None:
    await gone()
    whole.cancel()
