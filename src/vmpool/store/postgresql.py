"""PostgreSQL: every unit of work has its own connection and transaction; the server does the rest."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import anyio
import anyio.lowlevel
from sqlalchemy.ext.asyncio import AsyncEngine

from vmpool.store.database import Database, T, Work, database_errors
from vmpool.store.statement import Statement


class PostgreSQL(Database):
    """A database of a PostgreSQL server.  A commit there is on the server's disk when it returns."""

    dialect = "postgresql"

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, work: Work[T]) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        with anyio.CancelScope(shield=True), database_errors():
            async with self._engine.connect() as connection:
                result = await connection.run_sync(work)
        return result

    async def write(self, work: Work[T]) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        began = perf_counter()
        with anyio.CancelScope(shield=True), database_errors():
            async with self._engine.begin() as connection:
                result = await connection.run_sync(work)
        self.committed(perf_counter() - began, "group")
        return result

    async def write_behind(self, statement: Statement, values: Mapping[str, Any], *, text: int = 0) -> int:
        return await self.write(lambda connection: statement.run(connection, values))

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._engine.dispose()
