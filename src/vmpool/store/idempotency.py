"""Idempotency keys: the same request twice is done once and answered twice, for a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from vmpool.errors import IdempotencyMismatch
from vmpool.store.database import Database
from vmpool.store.models import Base, IdempotencyRow
from vmpool.store.statement import Statement
from vmpool.store.text import stored_size

KEPT = timedelta(days=1)
PRUNE_CHUNK = 500
"""Rows removed in one transaction."""

_TABLE = Base.metadata.tables[IdempotencyRow.__tablename__]
_COMPLETE = Statement(
    update(_TABLE)
    .where(_TABLE.c.user_id == bindparam("whose"), _TABLE.c.key == bindparam("which"))
    .values(status=bindparam("status"), body=bindparam("body"), stored_bytes=bindparam("stored_bytes")),
    ("whose", "which", "status", "body", "stored_bytes"),
)


def _claim_with(dialect: Any) -> Statement:
    """A claim of a key that is free, or that somebody had too long ago; changes a row if it succeeds."""
    taken = dialect.insert(_TABLE)
    replaced = {name: taken.excluded[name] for name in ("route", "body_hash", "created_at")}
    claim = taken.on_conflict_do_update(
        index_elements=[_TABLE.c.user_id, _TABLE.c.key],
        set_={**replaced, "status": null(), "body": null(), "stored_bytes": literal_column("0")},
        where=_TABLE.c.created_at <= bindparam("expired", type_=_TABLE.c.created_at.type),
    )
    return Statement(claim, ("user_id", "key", "route", "body_hash", "created_at", "expired"))


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
        for statement in (_CLAIM[database.dialect], _COMPLETE):
            database.prepare(statement)

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

        while True:
            if await self._database.write_behind(statement, values):
                return Fresh()
            claimed = await self._database.read(partial(_claimed, values))
            if claimed is not None:  # else it was released in between
                return claimed

    async def complete(self, user_id: int, key: str, status: int, body: str) -> None:
        """Keep the answer for whoever asks again."""

        values = {
            "whose": user_id,
            "which": key,
            "status": status,
            "body": body,
            "stored_bytes": stored_size(body),
        }

        await self._database.write_behind(_COMPLETE, values, text=len(body))

    async def release(self, user_id: int, key: str) -> None:
        """Nothing was done (refused, failed before any effect): the key may be claimed anew."""

        def work(connection: Connection) -> None:
            connection.execute(
                delete(IdempotencyRow).where(_own(user_id, key), IdempotencyRow.status.is_(None))
            )

        await self._database.write(work)

    async def settle_unfinished(self, status: int, body: str) -> int:
        """Answer every open claim so; how many.  For a server's start: those of a dead server end here."""
        statement = (
            update(IdempotencyRow).where(IdempotencyRow.status.is_(None)).values(status=status, body=body)
        )
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def keep_newest(self, user_id: int, count: int, size: int) -> int:
        """Forget the user's oldest answered keys beyond `count` and `size` bytes of answers; how many.

        One whose request is at work stays.
        """
        order = (IdempotencyRow.created_at.desc(), IdempotencyRow.key)
        rank = func.row_number().over(order_by=order).label("rank")
        weight = func.sum(IdempotencyRow.stored_bytes).over(order_by=order).label("weight")
        ranked = select(IdempotencyRow.key, rank, weight).where(IdempotencyRow.user_id == user_id).subquery()
        beyond = select(ranked.c.key).where(or_(ranked.c.rank > count, ranked.c.weight > size))
        keys = await self._database.read(lambda connection: list(connection.scalars(beyond)))
        chunks = [keys[start : start + PRUNE_CHUNK] for start in range(0, len(keys), PRUNE_CHUNK)]
        return sum([await self._forget(user_id, chunk) for chunk in chunks])

    async def _forget(self, user_id: int, keys: Sequence[str]) -> int:
        statement = delete(IdempotencyRow).where(
            IdempotencyRow.user_id == user_id,
            IdempotencyRow.key.in_(keys),
            IdempotencyRow.status.is_not(None),
        )
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)

    async def prune(self, now: datetime) -> int:
        """Forget keys older than a day; how many.  now: naive UTC."""
        statement = delete(IdempotencyRow).where(IdempotencyRow.created_at <= now - KEPT)
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _own(user_id: int, key: str) -> ColumnElement[bool]:
    return and_(IdempotencyRow.user_id == user_id, IdempotencyRow.key == key)


def _claimed(asked: Mapping[str, Any], connection: Connection) -> Replay | InProgress | None:
    """What came of the request that has the key; None where none has."""
    own = _own(asked["user_id"], asked["key"])
    row = connection.execute(select(IdempotencyRow).where(own)).one_or_none()
    if row is None:
        return None
    if (row.route, row.body_hash) != (asked["route"], asked["body_hash"]):
        raise IdempotencyMismatch
    return InProgress(row.created_at) if row.status is None else Replay(row.status, row.body)
