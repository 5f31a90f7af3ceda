"""The same code in many VMs at once."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import anyio

from vmpool.domain import Execution
from vmpool.errors import VMPoolError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ItemError:
    """A VM's place in a batch's answer when its code has no result.  reference: as the caller gave it."""

    reference: int | str
    error: VMPoolError


Item: TypeAlias = Execution | ItemError
"""What a batch has for one VM."""
Arrival: TypeAlias = tuple[int, Item]
"""An item with its place in the request, counted from 0."""
Arrivals: TypeAlias = AbstractAsyncContextManager[AsyncIterator[Arrival]]
"""A batch under way: what it has, in the order in which it ends."""


@asynccontextmanager
async def as_they_end(
    references: Sequence[int | str], execute: Callable[[int | str], Awaitable[Execution]]
) -> AsyncIterator[AsyncIterator[Arrival]]:
    """Run in all at once; entering begins, iterating gives each item as soon as it is there.

    One VM's failure is that item's only.  Nobody waits for the reader: what it has not taken is kept for it.
    Leaving early stops waiting; it does not end what `execute` has begun.
    """
    arrived, arrivals = anyio.create_memory_object_stream[Arrival](len(references))
    left = len(references)

    async def one(place: int, reference: int | str) -> None:
        nonlocal left
        item: Item
        try:
            item = await execute(reference)
        except VMPoolError as error:
            item = ItemError(reference, error)
        except Exception:  # a defect met in one VM must not cost the others their results
            logger.exception("an item of a batch failed, in VM %s", reference)
            item = ItemError(reference, VMPoolError("internal error; the server's log says more"))
        arrived.send_nowait((place, item))
        left -= 1
        if not left:
            arrived.close()

    with arrived, arrivals:
        async with anyio.create_task_group() as tasks:
            for place, reference in enumerate(references):
                tasks.start_soon(one, place, reference)
            if not references:
                arrived.close()
            yield arrivals
            tasks.cancel_scope.cancel()


async def in_order(batch: Arrivals) -> list[Item]:
    """All items of a batch, once the last is there, in the order of the request."""
    async with batch as arrivals:
        items = {place: item async for place, item in arrivals}
    return [items[place] for place in range(len(items))]
