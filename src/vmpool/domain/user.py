"""Who uses the pool, the keys they prove it with, and what a key may do."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from vmpool.errors import Forbidden, InsufficientScope


class Scope(StrEnum):
    """What a key may be used for.  None contains another."""

    READ = "read"
    """Look: VMs, their figures, what they wrote, one's own keys."""
    EXECUTE = "execute"
    """Run code in VMs that are there."""
    MANAGE = "manage"
    """Make, change and destroy VMs, snapshots and one's own keys."""
    ADMIN = "admin"
    """Users, the whole pool and the audit log; for administrators."""


ALL_SCOPES = frozenset(Scope)
USUAL_SCOPES = ALL_SCOPES - {Scope.ADMIN}
"""Of a key whose maker names none: administration is asked for by name."""


@dataclass(frozen=True, slots=True)
class User:
    """An owner of VMs.  `admin` may look at the whole pool.

    disabled_at: since when every request of theirs is refused.  max_vms: VMs they may have at once; None: as
    many as the server allows everybody.
    """

    id: int
    name: str
    admin: bool
    created_at: datetime
    disabled_at: datetime | None = None
    max_vms: int | None = None


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
    scopes: frozenset[Scope] = ALL_SCOPES

    def works(self, now: datetime) -> bool:
        """Whether it is neither revoked nor past its end."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks, and with which key."""

    user: User
    key: ApiKey

    @property
    def id(self) -> int:
        """The user's id: whose things are asked about."""
        return self.user.id

    @property
    def admin(self) -> bool:
        """Whether the user is an administrator."""
        return self.user.admin

    @property
    def scopes(self) -> frozenset[Scope]:
        """What may be done: the key's scopes, without `admin` unless the user is an administrator now."""
        return self.key.scopes if self.user.admin else self.key.scopes - {Scope.ADMIN}

    def require(self, scope: Scope) -> None:
        """InsufficientScope unless this may be done."""
        if scope not in self.key.scopes:
            raise InsufficientScope(scope)
        if scope is Scope.ADMIN and not self.user.admin:
            raise Forbidden("this needs an administrator's key")

    def require_all_of(self, other: ApiKey) -> None:
        """InsufficientScope where the other key was given a scope that this one was not."""
        for scope in sorted(other.scopes - self.key.scopes):
            raise InsufficientScope(scope)


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """What a new key is given.  expires_at: naive UTC; None: it works until revoked."""

    scopes: frozenset[Scope]
    expires_at: datetime | None


def grant(
    maker: Principal, scopes: Collection[Scope] | None, lifetime: timedelta | None, now: datetime
) -> KeyGrant:
    """What a key that `maker` asks for gets: never more than the maker's own key may do, nor for longer.

    scopes: default: USUAL_SCOPES as far as the maker has them.  lifetime: default: the maker's own end.
    InsufficientScope for a scope the maker lacks.
    """
    wanted = maker.scopes & USUAL_SCOPES if scopes is None else frozenset(scopes)
    for scope in sorted(wanted):
        maker.require(scope)
    asked, own = None if lifetime is None else now + lifetime, maker.key.expires_at
    ends = [at for at in (asked, own) if at is not None]
    return KeyGrant(wanted, min(ends, default=None))
