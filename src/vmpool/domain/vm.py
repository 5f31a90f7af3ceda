"""A VM, the states it can be in, and the arrows between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from vmpool.domain.limits import Limits
from vmpool.domain.network import NetworkPolicy


class VMState(StrEnum):
    """Stored in `virtual_machines.status`.  Every *-ing value announces work in progress (an intent)."""

    CREATING = "creating"  # the row exists, the machine may not yet
    RUNNING = "running"  # the agent answered
    PAUSED = "paused"  # its processes are held where they were, with their memory
    STOPPING = "stopping"  # processes are being ended, files stay
    STOPPED = "stopped"  # no process, files kept
    STARTING = "starting"  # from stopped towards running
    RESTORING = "restoring"  # a machine of the next generation is being made from a snapshot
    DELETING = "deleting"  # the machine is being destroyed
    DELETED = "deleted"  # the row is kept for its history only
    ERROR = "error"  # `VM.error` says why; delete, start or restore leave it


ARROWS: Mapping[VMState, frozenset[VMState]] = MappingProxyType(
    {
        VMState.CREATING: frozenset({VMState.RUNNING, VMState.ERROR, VMState.DELETING}),
        VMState.RUNNING: frozenset(
            {VMState.PAUSED, VMState.STOPPING, VMState.RESTORING, VMState.DELETING, VMState.ERROR}
        ),
        VMState.PAUSED: frozenset({VMState.RUNNING, VMState.STOPPING, VMState.DELETING, VMState.ERROR}),
        VMState.STOPPING: frozenset({VMState.STOPPED, VMState.ERROR, VMState.DELETING}),
        VMState.STOPPED: frozenset({VMState.STARTING, VMState.RESTORING, VMState.DELETING, VMState.ERROR}),
        VMState.STARTING: frozenset({VMState.RUNNING, VMState.ERROR, VMState.DELETING}),
        VMState.RESTORING: frozenset({VMState.RUNNING, VMState.STOPPED, VMState.ERROR, VMState.DELETING}),
        VMState.DELETING: frozenset({VMState.DELETED}),
        VMState.DELETED: frozenset(),
        VMState.ERROR: frozenset({VMState.STARTING, VMState.RESTORING, VMState.DELETING, VMState.STOPPING}),
    }
)


@dataclass(frozen=True, slots=True)
class VM:
    """One virtual machine of one user.  Times are naive UTC.  `ttl`, `idle_timeout` and `idle_pause`
    are seconds.

    wanted: the limits it is being given, an intent; None while nothing is under way.
    template: the built-in one it stands on, which the backend knows.  template_id, made_from: the user's
    template it was made from, by id and name.  build_id: the build of a template it is for.
    restored_from: the snapshot its files come from.  forked_from: the VM it is a copy of.
    network_bytes: what it has used of its policy's `max_bytes`, as last written down.
    """

    id: int
    user_id: int
    name: str
    state: VMState
    language: str
    template: str
    limits: Limits
    backend: str
    isolation: str
    created_at: datetime
    generation: int = 1
    container_id: str | None = None
    network: str = "none"
    ttl: int | None = None
    idle_timeout: int | None = None
    idle_pause: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    error: str | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    deleted_at: datetime | None = None
    last_used_at: datetime | None = None
    restored_from: int | None = None
    forked_from: int | None = None
    template_id: int | None = None
    made_from: str | None = None
    build_id: int | None = None
    wanted: Limits | None = None
    network_policy: NetworkPolicy = field(default_factory=NetworkPolicy)
    network_bytes: int = 0
