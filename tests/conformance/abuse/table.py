"""What one abuse program is, as data.  A family is one table of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum


class Must(StrEnum):
    """What has to come of it."""

    REFUSED = "every attempt is refused"
    INSIDE = "it works, inside the VM only"
    BOUNDED = "it meets a limit"
    HARMLESS = "it gains nothing"


@dataclass(frozen=True, slots=True)
class HeldBy:
    """What stops it: everywhere, or (also) on one kind of backend.

    bubblewrap: both grades.  root, user: one of them.  docker: runc and crun.  gvisor: docker with runsc.
    """

    everywhere: str = ""
    bubblewrap: str = ""
    root: str = ""
    user: str = ""
    docker: str = ""
    gvisor: str = ""

    def rendered(self) -> str:
        """One cell of the table in docs/security.md."""
        names = {"root": "bubblewrap as root", "user": "bubblewrap as user", "gvisor": "gVisor"}
        parts = [self.everywhere] if self.everywhere else []
        for entry in fields(self)[1:]:
            text = getattr(self, entry.name)
            if text:
                parts.append(f"{names.get(entry.name, entry.name)}: {text}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the table.  tries: a clause for it.  must: what has to come of it."""

    name: str
    tries: str
    must: Must
    held_by: HeldBy


@dataclass(frozen=True, slots=True, kw_only=True)
class Abuse(Entry):
    """A program that runs in a VM.

    code: Python, run after `prelude.PRELUDE`; a line of its output must be "held".  may_die: a limit may also
    end it first.  holds: it calls `hold()` when it has taken all it can get; host and neighbour are looked
    at while it has it.  limits: it gets a VM of its own, with these.  own: a VM of its own with the usual
    limits.  spins: it takes every core while it holds; where only the host's scheduler shares them out, a
    neighbour is to fare as beside a process of the host that does the same.  may_stop: kinds of backend (see
    `HeldBy`) on which the VM may end by it, cleanly: it shows as stopped and starts again.  seconds: its
    timeout.
    """

    code: str
    may_die: bool = False
    holds: bool = False
    limits: Mapping[str, float] = field(default_factory=dict)
    own: bool = False
    spins: bool = False
    may_stop: frozenset[str] = frozenset()
    seconds: float = 60

    @property
    def needs_own(self) -> bool:
        return self.own or bool(self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap(Entry):
    """Something left in a VM for the server to run into.

    prepare: Python that lays it, as in `Abuse`; what the server then does is the test of the same name in
    `test_traps.py`.
    """

    prepare: str


@dataclass(frozen=True, slots=True)
class Family:
    """Programs that go at one thing."""

    title: str
    programs: tuple[Abuse, ...] | tuple[Trap, ...]
