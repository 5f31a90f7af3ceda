"""What was found: values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LIMITS = ("cpu", "memory", "processes", "disk", "network")
"""The columns of the table, in the order people ask for them."""


class Answer(StrEnum):
    """Whether the host can."""

    YES = "yes"
    PARTLY = "partly"  # something is there, but it is not hard or not all
    NO = "no"
    UNKNOWN = "unknown"  # it looks as if, and nothing here proves it


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a host has or lacks.  found: what was seen.  remedy: what to do, "" where nothing is."""

    subject: str
    answer: Answer
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Limit:
    """What holds one limit.  by: in the backend's own words."""

    name: str
    answer: Answer
    by: str


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run VMs: a backend with a grade or a runtime.

    answer: whether a VM was made (YES), could not be (NO), or was not tried (UNKNOWN).
    """

    name: str
    isolation: str
    answer: Answer
    found: str
    limits: tuple[Limit, ...] = ()
    remedy: str = ""

    @property
    def works(self) -> bool:
        """VMs can be run this way."""
        return self.answer is not Answer.NO

    @property
    def holds_everything(self) -> bool:
        """It works, and every limit is hard."""
        return self.works and bool(self.limits) and all(limit.answer is Answer.YES for limit in self.limits)


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    host: tuple[Finding, ...]
    ways: tuple[Way, ...]

    @property
    def usable(self) -> bool:
        """VMs can be run here in some way."""
        return any(way.works for way in self.ways)

    @property
    def complete(self) -> bool:
        """Some way holds every limit."""
        return any(way.holds_everything for way in self.ways)

    @property
    def remedies(self) -> tuple[str, ...]:
        """What would make it better, each once."""
        found = (*(one.remedy for one in self.host), *(way.remedy for way in self.ways))
        return tuple(dict.fromkeys(remedy for remedy in found if remedy))


def judged(name: str, by: str) -> Limit:
    """A limit by what its backend says holds it; a process's own limit is not the VM's."""
    if by.startswith("nothing"):
        return Limit(name, Answer.NO, by)
    soft = ("per process", "per file", "RLIMIT")
    return Limit(name, Answer.PARTLY if any(word in by for word in soft) else Answer.YES, by)
