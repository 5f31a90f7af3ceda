"""API keys: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, func, insert, select, update

from vmpool.domain import ApiKey, Principal, Scope
from vmpool.domain.user import ALL_SCOPES
from vmpool.errors import Conflict, KeyNotFound, LimitReached
from vmpool.store.database import Database
from vmpool.store.models import ApiKeyRow, UserRow
from vmpool.store.users import user_of

SECRET_PREFIX = "vmp_"
"""Every secret starts so: secret scanners and people know one when they see it."""
SECRET_BYTES = 32
SHOWN = len(SECRET_PREFIX) + 6
"""How many characters of a secret are kept for telling keys apart."""
COARSE = timedelta(minutes=1)
"""`last_used_at` may lag this much: it is not worth a write per request."""
MAX_KEYS = 100
"""Working keys one user may have."""


class Keys:
    """The table `api_keys`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self,
        user_id: int,
        name: str,
        expires_at: datetime | None = None,
        scopes: Collection[Scope] = ALL_SCOPES,
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which cannot be had again.  expires_at: naive UTC.

        LimitReached where the user has MAX_KEYS keys that work.
        """
        secret = _fresh()

        def work(connection: Connection) -> ApiKey:
            _check_room(connection, user_id, self._clock())
            return _insert(connection, secret, user_id, name, self._clock(), expires_at, scopes)

        return await self._database.write(work), secret

    async def authenticate(self, secret: str) -> Principal | None:
        """Whose key this is, a disabled user's too; None for an unknown, revoked or expired one.

        The lookup is by hash, so what it takes tells nothing of a secret.
        """
        digest = _digest(secret)
        now = self._clock()

        def work(connection: Connection) -> tuple[Principal, str] | None:
            key_row = connection.execute(select(ApiKeyRow).where(ApiKeyRow.digest == digest)).one_or_none()
            if key_row is None:
                return None
            user_row = connection.execute(select(UserRow).where(UserRow.id == key_row.user_id)).one()
            return Principal(user_of(user_row), _key(key_row)), key_row.digest

        found = await self._database.read(work)
        if found is None:
            return None
        principal, stored = found
        key = principal.key
        if not hmac.compare_digest(stored, digest) or not key.works(now):
            return None
        if key.last_used_at is None or now - key.last_used_at >= COARSE:
            await self._database.write(
                lambda connection: connection.execute(
                    update(ApiKeyRow).where(ApiKeyRow.id == key.id).values(last_used_at=now)
                )
            )
        return principal

    async def list(self, user_id: int) -> list[ApiKey]:
        """Every key of the user, revoked ones too, oldest first."""

        def work(connection: Connection) -> list[ApiKey]:
            statement = select(ApiKeyRow).where(ApiKeyRow.user_id == user_id).order_by(ApiKeyRow.id)
            return [_key(row) for row in connection.execute(statement)]

        return await self._database.read(work)

    async def get(self, user_id: int, key_id: int) -> ApiKey:
        """One key of the user's, revoked or not; KeyNotFound also for somebody else's."""
        return await self._database.read(lambda connection: _own(connection, user_id, key_id))

    async def revoke(self, user_id: int, key_id: int) -> ApiKey:
        """From now on the key is refused; revoking twice changes nothing.  KeyNotFound if not the user's."""

        def work(connection: Connection) -> ApiKey:
            _own(connection, user_id, key_id)
            connection.execute(
                update(ApiKeyRow)
                .where(ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None))
                .values(revoked_at=self._clock())
            )
            return _own(connection, user_id, key_id)

        return await self._database.write(work)

    async def rotate(
        self, user_id: int, key_id: int, overlap: timedelta, latest_end: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """A new key in the place of one that works, and its secret; the old one ends after `overlap`.

        The new one has the old one's name, scopes and length of life, counted from now and cut at
        `latest_end`.  Conflict where the old one does not work any more; KeyNotFound.
        """
        secret = _fresh()

        def work(connection: Connection) -> ApiKey:
            now, old = self._clock(), _own(connection, user_id, key_id)
            if not old.works(now):
                raise Conflict(f"API key {key_id} is revoked or expired; make a new one")
            ends = [latest_end, old.expires_at and now + (old.expires_at - old.created_at)]
            expires_at = min((at for at in ends if at is not None), default=None)
            last_day = min(now + overlap, old.expires_at or now + overlap)
            connection.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(expires_at=last_day))
            return _insert(connection, secret, user_id, old.name, now, expires_at, old.scopes)

        return await self._database.write(work), secret


def _own(connection: Connection, user_id: int, key_id: int) -> ApiKey:
    own = (ApiKeyRow.id == key_id) & (ApiKeyRow.user_id == user_id)
    row = connection.execute(select(ApiKeyRow).where(own)).one_or_none()
    if row is None:
        raise KeyNotFound(key_id)
    return _key(row)


def _check_room(connection: Connection, user_id: int, now: datetime) -> None:
    unended = ApiKeyRow.expires_at.is_(None) | (ApiKeyRow.expires_at > now)
    working = select(func.count()).where(
        ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None), unended
    )
    if connection.execute(working).scalar_one() >= MAX_KEYS:
        raise LimitReached(f"a user may have {MAX_KEYS} API keys; revoke one first", limit=MAX_KEYS)


def _insert(
    connection: Connection,
    secret: str,
    user_id: int,
    name: str,
    now: datetime,
    expires_at: datetime | None,
    scopes: Collection[Scope],
) -> ApiKey:
    statement = insert(ApiKeyRow).values(
        user_id=user_id,
        name=name,
        prefix=secret[:SHOWN],
        digest=_digest(secret),
        created_at=now,
        expires_at=expires_at,
        scopes=" ".join(sorted(scopes)),
    )
    return _key(connection.execute(statement.returning(ApiKeyRow)).one())


def _fresh() -> str:
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def _digest(secret: str) -> str:
    """A secret of 256 random bits needs no salt and no slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: Row[ApiKeyRow]) -> ApiKey:
    return ApiKey(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        prefix=row.prefix,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        scopes=frozenset(map(Scope, row.scopes.split())),
    )
