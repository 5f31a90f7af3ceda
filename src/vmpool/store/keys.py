"""API keys: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, Row, insert, select, update

from vmpool.domain import ApiKey, User
from vmpool.errors import KeyNotFound
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


class Keys:
    """The table `api_keys`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def create(self, user_id: int, name: str, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
        """A new key and its secret, which cannot be had again.  expires_at: naive UTC."""
        secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)

        def work(connection: Connection) -> ApiKey:
            statement = insert(ApiKeyRow).values(
                user_id=user_id,
                name=name,
                prefix=secret[:SHOWN],
                digest=_digest(secret),
                created_at=self._clock(),
                expires_at=expires_at,
            )
            return _key(connection.execute(statement.returning(ApiKeyRow)).one())

        return await self._database.write(work), secret

    async def authenticate(self, secret: str) -> tuple[User, ApiKey] | None:
        """Whose key this is; None for an unknown, revoked or expired one.

        The lookup is by hash, so what it takes tells nothing of a secret.
        """
        digest = _digest(secret)
        now = self._clock()

        def work(connection: Connection) -> tuple[User, ApiKey, str] | None:
            key_row = connection.execute(select(ApiKeyRow).where(ApiKeyRow.digest == digest)).one_or_none()
            if key_row is None:
                return None
            user_row = connection.execute(select(UserRow).where(UserRow.id == key_row.user_id)).one()
            return user_of(user_row), _key(key_row), key_row.digest

        found = await self._database.read(work)
        if found is None:
            return None
        user, key, stored = found
        if not hmac.compare_digest(stored, digest):
            return None
        if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
            return None
        if key.last_used_at is None or now - key.last_used_at >= COARSE:
            await self._database.write(
                lambda connection: connection.execute(
                    update(ApiKeyRow).where(ApiKeyRow.id == key.id).values(last_used_at=now)
                )
            )
        return user, key

    async def list(self, user_id: int) -> list[ApiKey]:
        """Every key of the user, revoked ones too, oldest first."""

        def work(connection: Connection) -> list[ApiKey]:
            statement = select(ApiKeyRow).where(ApiKeyRow.user_id == user_id).order_by(ApiKeyRow.id)
            return [_key(row) for row in connection.execute(statement)]

        return await self._database.read(work)

    async def revoke(self, user_id: int, key_id: int) -> ApiKey:
        """From now on the key is refused; revoking twice changes nothing.  KeyNotFound if not the user's."""

        def work(connection: Connection) -> ApiKey:
            own = (ApiKeyRow.id == key_id) & (ApiKeyRow.user_id == user_id)
            connection.execute(
                update(ApiKeyRow).where(own, ApiKeyRow.revoked_at.is_(None)).values(revoked_at=self._clock())
            )
            row = connection.execute(select(ApiKeyRow).where(own)).one_or_none()
            if row is None:
                raise KeyNotFound(key_id)
            return _key(row)

        return await self._database.write(work)


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
    )
