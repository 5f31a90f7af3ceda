"""The same code in many VMs at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from vmpool.domain import Execution
from vmpool.errors import VMPoolError


@dataclass(frozen=True, slots=True)
class ItemError:
    """A VM's place in a batch's answer when its code has no result.  reference: as the caller gave it."""

    reference: int | str
    error: VMPoolError


async def in_all(
    references: Sequence[int | str], execute: Callable[[int | str], Awaitable[Execution]]
) -> list[Execution | ItemError]:
    """Run in all at once; answers in the order of `references`.  One VM's failure is that item's only."""
    items: dict[int, Execution | ItemError] = {}

    async def one(place: int, reference: int | str) -> None:
        try:
            items[place] = await execute(reference)
        except VMPoolError as error:
            items[place] = ItemError(reference, error)

    async with anyio.create_task_group() as tasks:
        for place, reference in enumerate(references):
            tasks.start_soon(one, place, reference)
    return [items[place] for place in range(len(references))]
