"""How long ago something was, told so that setting the host's clock deletes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import anyio


class Ages:
    """Ages of moments that rows give in wall-clock time, counted by a clock that nobody sets.

    The first look at a moment goes by the wall clock; from then on a step of that clock changes nothing.
    What it did before this server, or between a moment and the first look at it, cannot be known.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._began = clock()
        self._began_steady = anyio.current_time()
        self._seen: dict[tuple[int, str], tuple[datetime, float]] = {}

    def of(self, vm_id: int, what: str, moment: datetime) -> float:
        """Seconds since the moment.  what: which of the VM's moments it is."""
        steady = anyio.current_time()
        seen = self._seen.get((vm_id, what))
        if seen is None or seen[0] != moment:
            age = max(0.0, (self._clock() - moment).total_seconds())
            seen = self._seen[vm_id, what] = (moment, steady - age)
        return steady - seen[1]

    def keep(self, vm_ids: Collection[int]) -> None:
        """Forget every other VM's moments."""
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] in vm_ids}

    def now(self) -> datetime:
        """The time now, for what removes the old: never later than the wall clock would be unset."""
        unset = self._began + timedelta(seconds=anyio.current_time() - self._began_steady)
        return min(self._clock(), unset)
