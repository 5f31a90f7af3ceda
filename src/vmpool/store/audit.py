"""The audit log: appended to, read, and cut at its old end; nothing in it is ever changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from vmpool.domain.audit import Act, AuditEntry
from vmpool.store.database import Database
from vmpool.store.models import AuditRow, Base, UserRow
from vmpool.store.statement import Statement

_TABLE = Base.metadata.tables[AuditRow.__tablename__]
_APPEND = Statement(
    insert(_TABLE),
    ("at", "user_id", "key_id", "address", "action", "target", "facts", "status", "request_id"),
    key=_TABLE.c.id,
)
UNTOUCHED = timedelta(days=1, minutes=1)
"""How long every entry stays, and a little: a trigger refuses within the day, by the database's clock."""
PRUNE_CHUNK = 500
"""Rows removed in one transaction."""


class Audit:
    """The table `audit_log`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        database.prepare(_APPEND)

    async def append(self, act: Act) -> None:
        """Record it; the end of this process does not undo it."""
        values: dict[str, Any] = {
            "at": self._clock(),
            "user_id": act.user_id,
            "key_id": act.key_id,
            "address": act.address,
            "action": act.action,
            "target": act.target,
            "facts": dict(act.facts),
            "status": act.status,
            "request_id": act.request_id,
        }
        await self._database.write_behind(_APPEND, values)

    async def list(
        self,
        *,
        limit: int,
        before_id: int | None = None,
        user_id: int | None = None,
        action: str | None = None,
    ) -> list[AuditEntry]:
        """Entries, newest first.  before_id: only older ones, for paging; the rest narrows them down."""
        statement = (
            select(AuditRow, UserRow.name)
            .outerjoin(UserRow, UserRow.id == AuditRow.user_id)
            .order_by(AuditRow.id.desc())
            .limit(limit)
        )
        if before_id is not None:
            statement = statement.where(AuditRow.id < before_id)
        if user_id is not None:
            statement = statement.where(AuditRow.user_id == user_id)
        if action is not None:
            statement = statement.where(AuditRow.action == action)

        def work(connection: Connection) -> list[AuditEntry]:
            return [
                AuditEntry(
                    id=row.id,
                    at=row.at,
                    user=row.name,
                    act=Act(
                        action=row.action,
                        status=row.status,
                        request_id=row.request_id,
                        user_id=row.user_id,
                        key_id=row.key_id,
                        address=row.address,
                        target=row.target,
                        facts=row.facts,
                    ),
                )
                for row in connection.execute(statement)
            ]

        return await self._database.read(work)

    async def prune(self, before: datetime) -> int:
        """Remove entries older than this, which must lie at least a day back; how many there were."""
        return await self._remove(AuditRow.at < before)

    async def keep_newest(self, count: int, now: datetime) -> int:
        """Remove the oldest beyond so many, but none of the last day; how many there were.  now: naive UTC.

        What the day's own entries take is bounded by how fast may be asked (`rates`): whoever has done
        something must not be able to make it forgotten by doing much else.
        """
        # Numbers are given in order, and hardly one is lost.
        newest = select(func.max(AuditRow.id)).scalar_subquery()
        return await self._remove(and_(AuditRow.id <= newest - count, AuditRow.at < now - UNTOUCHED))

    async def _remove(self, doomed: ColumnElement[bool]) -> int:
        removed = 0
        while True:
            old = select(AuditRow.id).where(doomed).order_by(AuditRow.id).limit(PRUNE_CHUNK)
            statement = delete(AuditRow).where(AuditRow.id.in_(old))

            def work(connection: Connection, statement: Any = statement) -> int:
                return connection.execute(statement).rowcount

            chunk = await self._database.write(work)
            removed += chunk
            if chunk < PRUNE_CHUNK:
                return removed
