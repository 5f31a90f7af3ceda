"""A kept state of a VM's file system."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`reference` is the backend's own name for it; `base` what it stood on; `size` is bytes."""

    id: int
    vm_id: int
    user_id: int
    name: str
    size: int
    backend: str
    reference: str
    base: str
    created_at: datetime
