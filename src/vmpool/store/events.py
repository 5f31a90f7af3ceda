"""Events: appended in batches, read in order from a number on, cut at their old end user by user."""

from __future__ import annotations

import builtins
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from vmpool.domain.event import ALWAYS, Change, Event, Wanted
from vmpool.errors import EventsGone
from vmpool.store.database import Database
from vmpool.store.models import Base, EventRow, UserRow
from vmpool.store.statement import Statement

_TABLE = Base.metadata.tables[EventRow.__tablename__]
_NAMES = ("id", "at", "user_id", "kind", "vm_id", "execution_id", "snapshot_id", "facts")
_EACH = func.json_each(bindparam("batch")).table_valued("value", name="of_batch")
_APPEND = Statement(
    insert(_TABLE).from_select(
        _NAMES,
        select(
            *(literal_column(f"json_extract(of_batch.value, '$[{place}]')") for place in range(len(_NAMES)))
        ).select_from(_EACH),
    ),
    ("batch",),
)
"""A whole batch as one value: its rows cost the event loop one statement."""
PRUNE_CHUNK = 1000
"""Rows removed in one transaction."""


class Events:
    """The table `events`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        if database.dialect == "sqlite":
            database.prepare(_APPEND)

    async def newest(self) -> int:
        """The greatest number that was given; 0 where none was."""
        return await self._database.read(
            lambda connection: connection.scalar(select(func.max(EventRow.id))) or 0
        )

    async def append(self, events: Sequence[Event]) -> None:
        """Write them, all or none; the end of this process does not undo it."""
        if self._database.dialect == "sqlite":
            batch = json.dumps([_values(event) for event in events], separators=(",", ":"))
            await self._database.write_behind(_APPEND, {"batch": batch}, text=len(batch))
            return
        rows = [_row(event) for event in events]

        def work(connection: Connection) -> None:
            connection.execute(insert(EventRow), rows)

        await self._database.write(work)

    async def after(self, user_id: int, position: int, wanted: Wanted, limit: int) -> builtins.list[Event]:
        """The user's events with greater numbers, in order.

        EventsGone where some after `position` are removed already: whoever goes on from there would not know
        what it missed.
        """
        statement = _wanted(user_id, wanted).where(EventRow.id > position).order_by(EventRow.id).limit(limit)
        gone = select(UserRow.events_gone).where(UserRow.id == user_id)

        def work(connection: Connection) -> builtins.list[Event]:
            removed = connection.scalar(gone) or 0
            if removed > position:
                raise EventsGone(position)
            return [_event(row) for row in connection.execute(statement)]

        return await self._database.read(work)

    async def gone(self, user_id: int) -> int:
        """The greatest number of the user's events that are removed; 0 where none is."""
        statement = select(UserRow.events_gone).where(UserRow.id == user_id)
        return await self._database.read(lambda connection: connection.scalar(statement) or 0)

    async def list(
        self, user_id: int, wanted: Wanted, *, limit: int, before_id: int | None = None
    ) -> builtins.list[Event]:
        """The user's events, newest first.  before_id: only older ones, for paging."""
        statement = _wanted(user_id, wanted).order_by(EventRow.id.desc()).limit(limit)
        if before_id is not None:
            statement = statement.where(EventRow.id < before_id)
        return await self._database.read(
            lambda connection: [_event(row) for row in connection.execute(statement)]
        )

    async def keep_newest(self, user_id: int, count: int) -> None:
        """Remove the user's oldest events beyond so many."""
        of_user = select(EventRow.id).where(EventRow.user_id == user_id)
        oldest = of_user.order_by(EventRow.id.desc()).offset(count).limit(1)
        last = await self._database.read(lambda connection: connection.scalar(oldest))
        if last is not None:
            await self._remove(user_id, last)

    async def prune(self, before: datetime) -> None:
        """Remove events from before then, naive UTC."""
        statement = (
            select(EventRow.user_id, func.max(EventRow.id))
            .where(EventRow.at < before)
            .group_by(EventRow.user_id)
        )
        old = await self._database.read(lambda connection: [*connection.execute(statement)])
        for user_id, last in old:
            await self._remove(user_id, last)

    async def _remove(self, user_id: int, last: int) -> None:
        """The user's events up to this number; that they are gone is noted before they are.

        The newest of all stays, so that the numbers go on from it.
        """
        newest = select(func.max(EventRow.id)).scalar_subquery()
        doomed = (
            select(EventRow.id)
            .where(EventRow.user_id == user_id, EventRow.id <= last, EventRow.id < newest)
            .order_by(EventRow.id)
            .limit(PRUNE_CHUNK)
        )
        statement = delete(EventRow).where(EventRow.id.in_(doomed))
        noted = update(UserRow).where(UserRow.id == user_id, UserRow.events_gone < last)

        def work(connection: Connection) -> int:
            connection.execute(noted.values(events_gone=last))
            return connection.execute(statement).rowcount

        while await self._database.write(work) == PRUNE_CHUNK:
            pass


def _wanted(user_id: int, wanted: Wanted) -> Select[Any]:
    statement = select(EventRow).where(EventRow.user_id == user_id)
    always = EventRow.kind.in_(sorted(ALWAYS))
    if wanted.vm_id is not None:
        statement = statement.where(or_(EventRow.vm_id == wanted.vm_id, always))
    if wanted.kinds:
        statement = statement.where(EventRow.kind.in_(sorted(wanted.kinds | ALWAYS)))
    return statement


def _row(event: Event) -> dict[str, Any]:
    change = event.change
    return {
        "id": event.id,
        "at": change.at,
        "user_id": change.user_id,
        "kind": change.kind,
        "vm_id": change.vm_id,
        "execution_id": change.execution_id,
        "snapshot_id": change.snapshot_id,
        "facts": dict(change.facts),
    }


def _values(event: Event) -> builtins.list[object]:
    """In the order of `_NAMES`, as SQLite keeps them."""
    row = _row(event)
    row["at"] = event.change.at.isoformat(" ", "microseconds")
    return [row[name] for name in _NAMES]


def _event(row: Row[Any]) -> Event:
    change = Change(
        user_id=row.user_id,
        kind=row.kind,
        at=row.at,
        vm_id=row.vm_id,
        execution_id=row.execution_id,
        snapshot_id=row.snapshot_id,
        facts=row.facts,
    )
    return Event(row.id, change)
