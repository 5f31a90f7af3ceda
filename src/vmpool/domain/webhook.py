"""Webhooks: where a user's events are sent, and how what is sent is signed.  Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlsplit

from vmpool.domain.event import Event

SECRET_PREFIX = "whsec_"
"""How Standard Webhooks marks a secret."""
MAX_WEBHOOKS = 10
"""Of one user."""
LONGEST_URL = 2000
TEST = "webhook.test"
"""The type of what is sent on request, which no change is behind."""


class Stage(StrEnum):
    """How far a delivery has come."""

    DELIVERED = "delivered"
    RETRYING = "retrying"
    FAILED = "failed"  # given up


@dataclass(frozen=True, slots=True)
class Webhook:
    """One of a user's.  types: words that name kinds of events; none: all.  Times are naive UTC.

    salt: what its secret is made from, with the server's key.  position: number of the last event that was
    dealt with.  failing_since: none has been delivered since.  disabled_at, disabled_because: it is sent
    nothing.
    """

    id: int
    user_id: int
    url: str
    types: tuple[str, ...]
    salt: str
    position: int
    created_at: datetime
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_because: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One try.  event_id: None for a test.  status: the answer's; None where none came.

    problem: in a clause.  attempt: counted from 1.  at: naive UTC.  seconds: how long it took.
    """

    id: int
    webhook_id: int
    event_id: int | None
    type: str
    attempt: int
    stage: Stage
    at: datetime
    seconds: float
    status: int | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent.  id: the same each time one event is sent."""

    id: str
    type: str
    body: bytes

    def headers(self, secret: str, now: datetime) -> dict[str, str]:
        """As Standard Webhooks has them.  now: naive UTC."""
        stamp = str(int(now.replace(tzinfo=UTC).timestamp()))
        return {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": stamp,
            "webhook-signature": signature(secret, self.id, stamp, self.body),
        }


def secret_of(key: bytes, webhook: Webhook) -> str:
    """The secret that its receiver knows; it is kept nowhere.  key: the server's own."""
    made = hmac.digest(key, f"webhook {webhook.id} {webhook.salt}".encode(), hashlib.sha256)
    return SECRET_PREFIX + base64.b64encode(made).decode()


def signature(secret: str, message_id: str, stamp: str, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 of id, timestamp and body."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    made = hmac.digest(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(made).decode()}"


def message_of(event: Event) -> Message:
    """What is sent of an event."""
    change = event.change
    data: dict[str, object] = {
        "id": event.id,
        "vm_id": change.vm_id,
        "execution_id": change.execution_id,
        "snapshot_id": change.snapshot_id,
        "facts": dict(change.facts),
    }
    return _message(f"event_{event.id}", change.kind, change.at, data)


def trial_message(message_id: str, at: datetime) -> Message:
    """What is sent to see whether it arrives."""
    return _message(message_id, TEST, at, {})


def _message(message_id: str, kind: str, at: datetime, data: dict[str, object]) -> Message:
    said = {"type": kind, "timestamp": f"{at.isoformat(timespec='microseconds')}Z", "data": data}
    return Message(message_id, kind, json.dumps(said, separators=(",", ":")).encode())


def problem_of(url: str) -> str | None:
    """What is wrong with a URL, in a clause; None where nothing is, as far as it says by itself."""
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        return f"must be up to {LONGEST_URL} characters of printable ASCII without spaces"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in ("http", "https"):
        return "must begin with https:// or http://"
    if not parts.hostname or port == 0:
        return "names no host"
    if "@" in parts.netloc:
        return "must hold no name or password: verify the signature instead"
    if parts.fragment:
        return "must have no fragment"
    return None
