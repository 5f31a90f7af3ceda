"""What one VM's connections came to: entries waiting to be written down, and running totals."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final

from vmpool.domain.network import NetworkEntry, NetworkVerdict

MAX_WAITING: Final = 500
"""Entries that wait to be written; past it they are counted instead."""


@dataclass(slots=True)
class Totals:
    """Since the broker began.  open: connections now.  bytes_up: from the VM.  bytes_down: to the VM."""

    open: int = 0
    allowed: int = 0
    refused: int = 0
    failed: int = 0
    cut: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def add(self, other: Totals) -> None:
        """Both together."""
        for counted in fields(self):
            setattr(self, counted.name, getattr(self, counted.name) + getattr(other, counted.name))


class Journal:
    """Bounded, however fast a VM asks."""

    def __init__(self) -> None:
        self.totals = Totals()
        self._waiting: list[NetworkEntry] = []
        self._skipped = 0

    def add(self, entry: NetworkEntry) -> None:
        """Count it, and keep it until it is taken."""
        match entry.verdict:
            case NetworkVerdict.ALLOWED:
                self.totals.allowed += 1
            case NetworkVerdict.REFUSED:
                self.totals.refused += 1
            case NetworkVerdict.FAILED:
                self.totals.failed += 1
            case NetworkVerdict.CUT:
                self.totals.cut += 1
        if len(self._waiting) >= MAX_WAITING:
            self._skipped += 1
            return
        self._waiting.append(replace(entry, skipped=self._skipped) if self._skipped else entry)
        self._skipped = 0

    @property
    def waiting(self) -> int:
        """How many entries wait."""
        return len(self._waiting)

    def give_back(self, entries: list[NetworkEntry]) -> None:
        """They could not be written: keep them, the newest where there is no room for all."""
        self._waiting = (entries + self._waiting)[-MAX_WAITING:]

    def take(self) -> list[NetworkEntry]:
        """The entries that wait, oldest first; they are the caller's now."""
        taken, self._waiting = self._waiting, []
        return taken
