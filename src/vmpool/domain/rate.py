"""How much in how short a time: a token bucket, as arithmetic on the time now."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """So many a second in the long run, and `burst` at once after a pause."""

    per_second: float
    burst: int


class Bucket:
    """The tokens one caller has left.  It is kept as the moment at which it will be full again."""

    __slots__ = ("_full_at",)

    def __init__(self) -> None:
        self._full_at = 0.0

    def take(self, rate: Rate, now: float) -> float:
        """0 where there was a token, which is taken; else the seconds until there will be one.

        now: seconds on a clock that never goes back.
        """
        interval = 1 / rate.per_second
        full_at = max(self._full_at, now) + interval
        wait = full_at - now - rate.burst * interval
        if wait > 1e-9:  # less is what floating point loses
            return wait
        self._full_at = full_at
        return 0.0

    def is_full(self, now: float) -> bool:
        """Whether it is as good as a new one."""
        return self._full_at <= now
