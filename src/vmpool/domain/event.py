"""Events: that a VM, an execution, a snapshot or a template changed.  Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vmpool.domain.execution import ExecutionState
from vmpool.domain.vm import VMState

SERVER_STARTED = "server.started"
"""A server begins: what changed in the last moments of the one before may have no event."""
MISSING = "events.missing"
"""Changes that could not be kept; `facts.count` says how many."""
VM_CHANGED = "vm.changed"
"""Limits or network policy."""
SNAPSHOT_READY = "snapshot.ready"
SNAPSHOT_DELETED = "snapshot.deleted"
TEMPLATE_READY = "template.ready"
TEMPLATE_BUILDING = "template.building"
TEMPLATE_FAILED = "template.failed"
TEMPLATE_CANCELLED = "template.cancelled"
TEMPLATE_CHANGED = "template.changed"
"""Its description, or whether it is shared."""
TEMPLATE_DELETED = "template.deleted"

KINDS = (
    *(f"vm.{state}" for state in VMState),
    VM_CHANGED,
    *(f"execution.{state}" for state in ExecutionState),
    SNAPSHOT_READY,
    SNAPSHOT_DELETED,
    TEMPLATE_BUILDING,
    TEMPLATE_READY,
    TEMPLATE_FAILED,
    TEMPLATE_CANCELLED,
    TEMPLATE_CHANGED,
    TEMPLATE_DELETED,
    SERVER_STARTED,
    MISSING,
)
"""All there are."""
FAMILIES = tuple(dict.fromkeys(kind.partition(".")[0] for kind in KINDS))
ALWAYS = frozenset({SERVER_STARTED, MISSING})
"""Kinds a reader gets whatever it asked for: they say that others may be missing."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened, before it has a number.  at: naive UTC.  facts: small values JSON has."""

    user_id: int
    kind: str
    at: datetime
    vm_id: int | None = None
    execution_id: int | None = None
    snapshot_id: int | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """A change with its number, which is greater than that of every event before it."""

    id: int
    change: Change


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a reader wants.  vm_id: of this VM only.  kinds: of these only; empty: of all."""

    vm_id: int | None = None
    kinds: frozenset[str] = frozenset()


def kinds_of(words: Iterable[str]) -> frozenset[str]:
    """The kinds that words name, each a kind or a family of them (`vm`); ValueError with what is neither."""
    found: set[str] = set()
    for word in words:
        named = {kind for kind in KINDS if word in (kind, kind.partition(".")[0])}
        if not named:
            raise ValueError(word)
        found |= named
    return frozenset(found)
