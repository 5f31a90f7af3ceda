"""What the warm pool has done and has, for metrics and for whoever looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Miss(StrEnum):
    """Why a VM was made cold."""

    DRY = "dry"  # no spare of this template was ready
    UNSUITABLE = "unsuitable"  # there was one, but it cannot become what was asked for
    FAILED = "failed"  # the one there was did not run any more


@dataclass(slots=True)
class Counters:
    """Since the server's start.  made, dropped: spares; failed: tries to make one."""

    hits: int = 0
    misses: dict[Miss, int] = field(default_factory=lambda: dict.fromkeys(Miss, 0))
    made: int = 0
    dropped: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class WarmPoolFigures:
    """One look.  enabled: false, with the reason, where there is no warm pool.

    ready, wanted: spares by template.  making: spares being made.  hits: creates that got a spare.
    misses: creates that did not, by reason.
    """

    enabled: bool
    reason: str
    ready: Mapping[str, int]
    wanted: Mapping[str, int]
    making: int
    hits: int
    misses: Mapping[Miss, int]
    made: int
    dropped: int
    failed: int

    @property
    def hit_rate(self) -> float | None:
        """Hits of all creates; None before the first."""
        creates = self.hits + sum(self.misses.values())
        return self.hits / creates if creates else None
