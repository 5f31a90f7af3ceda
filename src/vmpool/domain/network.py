"""What a VM may reach: its mode and its policy, as values.  `vmpool.network` gives them their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class NetworkMode(StrEnum):
    """Chosen when a VM is made, and fixed from then on."""

    NONE = "none"  # nothing
    FILTERED = "filtered"  # through the server, which resolves, checks and logs
    FULL = "full"  # the backend's own NAT, which nobody here checks


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """What a VM in mode `filtered` may reach; it may be changed while the VM runs.

    allow: rules; none means every public address.  deny: rules that win over `allow`.  group: the VMs of the
    same user that name it reach one another.  max_connections: open at once.  connections_per_second: begun
    in any second.  max_bytes: in both directions together, over the VM's life.  None: the server's setting,
    which also bounds what is named here.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    group: str | None = None
    max_connections: int | None = None
    connections_per_second: int | None = None
    max_bytes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it is stored: what is not said is left out."""
        named = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in named.items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> NetworkPolicy:
        """The inverse of `as_dict`; what a later version has stored beside it is passed over."""
        return cls(
            allow=tuple(stored.get("allow", ())),
            deny=tuple(stored.get("deny", ())),
            group=stored.get("group"),
            max_connections=stored.get("max_connections"),
            connections_per_second=stored.get("connections_per_second"),
            max_bytes=stored.get("max_bytes"),
        )


class NetworkVerdict(StrEnum):
    """What became of a connection."""

    ALLOWED = "allowed"  # made, and ended by one of its ends
    REFUSED = "refused"  # not made: the policy or a limit forbids it
    FAILED = "failed"  # allowed, and the destination could not be reached
    CUT = "cut"  # made, and ended by the server: the policy changed, or a limit was reached


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """One connection a VM asked for, written down when it had ended.

    at: when it was asked for.  via: how: "http", "connect", "socks",
    "direct", or "proxy" where it ended before it said which.  host: as it was asked for.
    address: what was dialled, or what was refused for its address.  rule: what decided.  bytes_up: from the
    VM.  bytes_down: to the VM.  seconds: from asking to the end.  skipped: entries lost just before this one,
    of a VM that asked faster than they are written.
    """

    at: datetime
    via: str
    host: str
    port: int
    verdict: NetworkVerdict
    rule: str
    address: str | None = None
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    skipped: int = 0
    id: int = 0
