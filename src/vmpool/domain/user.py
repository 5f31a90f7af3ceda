"""Who uses the pool, and the keys they prove it with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class User:
    """An owner of VMs.  `admin` may look at the whole pool."""

    id: int
    name: str
    admin: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key: never its secret.  `prefix` is the secret's start, for telling keys apart.

    Times are naive UTC.  `last_used_at` is coarse: up to a minute behind.
    """

    id: int
    user_id: int
    name: str
    prefix: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
