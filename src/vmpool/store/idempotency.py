"""Idempotency keys: the same request twice is done once and answered twice, for a day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from vmpool.errors import IdempotencyMismatch
from vmpool.store.database import Database
from vmpool.store.models import IdempotencyRow

KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Fresh:
    """The key is now the caller's: do the work, then `complete` or `release`."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The work was done: answer this again.  status: HTTP status.  body: the answer's text."""

    status: int
    body: str


@dataclass(frozen=True, slots=True)
class InProgress:
    """Another request with this key is at work since `since` (naive UTC)."""

    since: datetime


class Idempotency:
    """The table `idempotency_keys`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def claim(self, user_id: int, key: str, route: str, body_hash: str) -> Fresh | Replay | InProgress:
        """Who does the work of this key.  Of any number of equal claims at once exactly one is Fresh.

        route: method and path.  IdempotencyMismatch where the key came with another route or body.  A key
        older than a day counts as never seen.
        """

        def work(connection: Connection) -> Fresh | Replay | InProgress:
            now = self._clock()
            own = _own(user_id, key)
            connection.execute(delete(IdempotencyRow).where(own, IdempotencyRow.created_at <= now - KEPT))
            dialect = postgresql if self._database.dialect == "postgresql" else sqlite
            values = {
                "user_id": user_id,
                "key": key,
                "route": route,
                "body_hash": body_hash,
                "created_at": now,
            }
            claimed = connection.execute(
                dialect.insert(IdempotencyRow)
                .values(values)
                .on_conflict_do_nothing()
                .returning(IdempotencyRow.created_at)
            ).one_or_none()
            if claimed is not None:
                return Fresh()
            row = connection.execute(select(IdempotencyRow).where(own)).one()
            if (row.route, row.body_hash) != (route, body_hash):
                raise IdempotencyMismatch
            if row.status is None:
                return InProgress(row.created_at)
            return Replay(row.status, row.body)

        return await self._database.write_behind(work)

    async def complete(self, user_id: int, key: str, status: int, body: str) -> None:
        """Keep the answer for whoever asks again."""

        def work(connection: Connection) -> None:
            connection.execute(
                update(IdempotencyRow).where(_own(user_id, key)).values(status=status, body=body)
            )

        await self._database.write_behind(work)

    async def release(self, user_id: int, key: str) -> None:
        """Nothing was done (refused, failed before any effect): the key may be claimed anew."""

        def work(connection: Connection) -> None:
            connection.execute(
                delete(IdempotencyRow).where(_own(user_id, key), IdempotencyRow.status.is_(None))
            )

        await self._database.write_behind(work)

    async def settle_unfinished(self, status: int, body: str) -> int:
        """Answer every open claim so; how many.  For a server's start: those of a dead server end here."""
        statement = (
            update(IdempotencyRow).where(IdempotencyRow.status.is_(None)).values(status=status, body=body)
        )
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def prune(self) -> int:
        """Forget keys older than a day; how many."""
        statement = delete(IdempotencyRow).where(IdempotencyRow.created_at <= self._clock() - KEPT)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _own(user_id: int, key: str) -> ColumnElement[bool]:
    return and_(IdempotencyRow.user_id == user_id, IdempotencyRow.key == key)
