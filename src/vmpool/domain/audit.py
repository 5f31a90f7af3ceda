"""What is kept of who did what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Act:
    """Something done, or refused.

    user_id, key_id: who, None where no key proved it.  address: where the request came from.  action: the
    operation's id in the OpenAPI document, or "authenticate".  target: what it was done to, as in
    "vm_id=3".  facts: what was changed to what; never code, variables or secrets.  status: HTTP's.
    """

    action: str
    status: int
    request_id: str
    user_id: int | None = None
    key_id: int | None = None
    address: str | None = None
    target: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An act as it was recorded.  at: naive UTC.  user: the user's name."""

    id: int
    at: datetime
    user: str | None
    act: Act
