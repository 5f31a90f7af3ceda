"""Idempotency keys: the same request twice is done once and answered twice, for a day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from vmpool.errors import IdempotencyMismatch
from vmpool.store.database import Database
from vmpool.store.models import Base, IdempotencyRow

KEPT = timedelta(days=1)

# Put together once, and on the table: a mapped class is looked at anew for each statement.
_TABLE = Base.metadata.tables[IdempotencyRow.__tablename__]
_COMPLETE = (
    update(_TABLE)
    .where(_TABLE.c.user_id == bindparam("whose"), _TABLE.c.key == bindparam("which"))
    .values(status=bindparam("status"), body=bindparam("body"))
)


def _claim_with(dialect: Any) -> Any:
    """A claim of a key that is free, or that somebody had too long ago; answers a row if it succeeds."""
    taken = dialect.insert(_TABLE)
    replaced = {name: taken.excluded[name] for name in ("route", "body_hash", "created_at")}
    return taken.on_conflict_do_update(
        index_elements=[_TABLE.c.user_id, _TABLE.c.key],
        set_={**replaced, "status": None, "body": None},
        where=_TABLE.c.created_at <= bindparam("expired"),
    ).returning(_TABLE.c.created_at)


_CLAIM = {"sqlite": _claim_with(sqlite), "postgresql": _claim_with(postgresql)}


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

        now = self._clock()
        statement = _CLAIM[self._database.dialect]
        values = {
            "user_id": user_id,
            "key": key,
            "route": route,
            "body_hash": body_hash,
            "created_at": now,
            "expired": now - KEPT,
        }

        def work(connection: Connection) -> Fresh | Replay | InProgress:
            if connection.execute(statement, values).one_or_none() is not None:
                return Fresh()
            row = connection.execute(select(IdempotencyRow).where(_own(user_id, key))).one()
            if (row.route, row.body_hash) != (route, body_hash):
                raise IdempotencyMismatch
            if row.status is None:
                return InProgress(row.created_at)
            return Replay(row.status, row.body)

        return await self._database.write_behind(work)

    async def complete(self, user_id: int, key: str, status: int, body: str) -> None:
        """Keep the answer for whoever asks again."""

        values = {"whose": user_id, "which": key, "status": status, "body": body}

        def work(connection: Connection) -> None:
            connection.execute(_COMPLETE, values)

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
