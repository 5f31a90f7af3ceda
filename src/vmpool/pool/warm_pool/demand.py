"""How many VMs of each template are asked for at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

SPAN = 10.0
"""Seconds within which creates count as coming at once: about what refilling after them takes."""
KEPT = 256
"""Creates remembered of one template."""


class Demand:
    """When VMs were asked for.  remember: seconds after which a create is forgotten."""

    def __init__(self, remember: float) -> None:
        self._remember = remember
        self._times: dict[str, deque[float]] = {}

    def note(self, template: str, at: float) -> None:
        """One more was asked for."""
        self._times.setdefault(template, deque(maxlen=KEPT)).append(at)

    def wanted(self, now: float) -> dict[str, int]:
        """For each template in demand, how many came at once when most did."""
        for template, times in list(self._times.items()):
            while times and times[0] <= now - self._remember:
                times.popleft()
            if not times:
                del self._times[template]
        return {template: peak(times, SPAN) for template, times in self._times.items()}


def peak(times: Iterable[float], span: float) -> int:
    """The largest number of times that lie within any `span` seconds.  times: in ascending order."""
    window: deque[float] = deque()
    most = 0
    for time in times:
        window.append(time)
        while window[0] < time - span:
            window.popleft()
        most = max(most, len(window))
    return most
