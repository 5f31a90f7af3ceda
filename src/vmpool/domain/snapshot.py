"""A kept state of a VM's file system."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SnapshotState(StrEnum):
    """Stored in `snapshots.state`."""

    PENDING = "pending"  # announced; the backend may or may not have it
    READY = "ready"  # the backend has it
    KEPT = "kept"  # the backend has it, for templates only: its VM's list has it no more
    DELETING = "deleting"  # the backend is being told to remove it


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`reference` is the backend's own name for it; `base` what it stood on; `size` is bytes.

    seal: what the backend compares it with before it is restored; None for one kept before there were any.
    parent_id: the snapshot it came after: the VM's last one before it, or the one the VM was restored to.
    """

    id: int
    vm_id: int
    user_id: int
    name: str
    size: int
    backend: str
    reference: str
    base: str
    created_at: datetime
    state: SnapshotState = SnapshotState.READY
    seal: str | None = None
    parent_id: int | None = None
