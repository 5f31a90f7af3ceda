"""Contexts: announced before their kernel is started, kept until they are deleted, dead ones too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Executable, Row, delete, func, insert, select, update

from vmpool.domain import CodeContext
from vmpool.errors import ContextNotFound
from vmpool.store.database import Database
from vmpool.store.models import ContextRow


class Contexts:
    """The table `contexts`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def begin(
        self, vm_id: int, language: str, cwd: str | None, env: Mapping[str, str], *, most: int
    ) -> CodeContext | None:
        """Announce a context; None where the VM has `most`."""
        values = {
            "vm_id": vm_id,
            "language": language,
            "cwd": cwd,
            "env": dict(env),
            "starts": 1,
            "created_at": self._clock(),
        }

        def work(connection: Connection) -> CodeContext | None:
            counted = select(func.count()).select_from(ContextRow).where(ContextRow.vm_id == vm_id)
            if connection.execute(counted).scalar_one() >= most:
                return None
            return _context(connection.execute(insert(ContextRow).returning(ContextRow), values).one())

        return await self._database.write(work)

    async def get(self, vm_id: int, context_id: int) -> CodeContext:
        """One of this VM's; ContextNotFound."""
        statement = select(ContextRow).where(ContextRow.id == context_id, ContextRow.vm_id == vm_id)
        return await self._database.read(lambda connection: _one(connection, statement, context_id))

    async def list(self, vm_id: int) -> list[CodeContext]:
        """The VM's, newest first."""
        statement = select(ContextRow).where(ContextRow.vm_id == vm_id).order_by(ContextRow.id.desc())
        return await self._database.read(
            lambda connection: [_context(row) for row in connection.execute(statement)]
        )

    async def restart(self, vm_id: int, context_id: int) -> CodeContext:
        """Announce another start of its kernel; ContextNotFound."""
        statement = (
            update(ContextRow)
            .where(ContextRow.id == context_id, ContextRow.vm_id == vm_id)
            .values(starts=ContextRow.starts + 1, failure=None)
            .returning(ContextRow)
        )
        return await self._database.write(lambda connection: _one(connection, statement, context_id))

    async def fail(self, context_id: int, starts: int, failure: str) -> None:
        """Its kernel of this start is dead; nothing where there is a later one, or no such context."""
        statement = (
            update(ContextRow)
            .where(ContextRow.id == context_id, ContextRow.starts == starts, ContextRow.failure.is_(None))
            .values(failure=failure)
        )

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work)

    async def delete(self, context_id: int) -> None:
        """Remove the row; an absent one is a success."""
        statement = delete(ContextRow).where(ContextRow.id == context_id)

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work)


def _one(connection: Connection, statement: Executable, context_id: int) -> CodeContext:
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise ContextNotFound(context_id)
    return _context(row)


def _context(row: Row[Any]) -> CodeContext:
    return CodeContext(
        id=row.id,
        vm_id=row.vm_id,
        language=row.language,
        created_at=row.created_at,
        cwd=row.cwd,
        env=row.env,
        starts=row.starts,
        failure=row.failure,
    )
