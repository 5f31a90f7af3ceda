"""An execution that was seen to have ended is never seen running again, however slow the database is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import anyio
import pytest

from vmpool.domain import ExecutionState
from vmpool.errors import StoreFailed
from vmpool.store import Store
from vmpool.store.database import Database, Work
from vmpool.store.statement import Statement

from .world import World, command, eventually, vm_request

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class SlowDatabase(Database):
    """Answers a read only once it may, with what was so before; refuses writes while it is to."""

    dialect = "sqlite"

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.refuses = False
        self.has_read = anyio.Event()
        self.may_answer: anyio.Event | None = None

    async def read(self, work: Work[T]) -> T:
        result = await self._inner.read(work)
        if self.may_answer is not None:
            self.has_read.set()
            await self.may_answer.wait()
        return result

    async def write(self, work: Work[T]) -> T:
        return await self._inner.write(work)

    async def write_behind(self, statement: Statement, values: Mapping[str, Any], *, text: int = 0) -> int:
        if self.refuses:
            raise StoreFailed("the disk is full")
        return await self._inner.write_behind(statement, values, text=text)

    def prepare(self, statement: Statement) -> None:
        self._inner.prepare(statement)

    async def close(self) -> None:
        """Somebody else's."""


async def test_a_row_that_was_read_before_its_end_was_written(world: World) -> None:
    database = SlowDatabase(world.store.database)
    world.store = Store(database, world.clock)
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.execute, world.ada, vm.id, command("sleep 0.2"))

            async def begun() -> bool:
                return bool(await pool.list_executions(world.ada, vm.id))

            await eventually(begun)
            database.refuses = True

        (ended,) = await pool.list_executions(world.ada, vm.id)
        assert ended.state is ExecutionState.FINISHED and not await world.nothing_runs()

        async def look() -> None:
            assert (await pool.get_execution(world.ada, vm.id, ended.id)).state is ExecutionState.FINISHED

        async with anyio.create_task_group() as tasks:
            database.may_answer = anyio.Event()
            tasks.start_soon(look)
            await database.has_read.wait()
            may_answer, database.may_answer, database.refuses = database.may_answer, None, False
            await eventually(world.nothing_runs)
            await anyio.sleep(0.05)
            may_answer.set()
