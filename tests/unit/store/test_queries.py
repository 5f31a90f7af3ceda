"""Queries of tables that grow with the history go through an index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPICursor, ExecutionContext

from vmpool.domain import VMState
from vmpool.store import Store, open_store, utcnow

from .conftest import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{tmp_path}/store.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def plans(store: Store) -> Iterator[list[str]]:
    """How SQLite carries out each statement sent from now on, a line for each table it visits."""
    found: list[str] = []

    def explain(
        connection: Connection,
        cursor: DBAPICursor,
        statement: str,
        parameters: tuple[object, ...],
        context: ExecutionContext,
        executemany: bool,
    ) -> None:
        if statement.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found.extend(row[3] for row in cursor.fetchall())

    event.listen(Engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", explain)


CALLS: dict[str, Callable[[Store], Awaitable[object]]] = {
    "authenticate": lambda store: store.keys.authenticate("vmp_x"),
    "keys": lambda store: store.keys.list(1),
    "census": lambda store: store.vms.census(1),
    "list own": lambda store: store.vms.list(1, limit=10, before_id=100),
    "list in a state": lambda store: store.vms.list(1, states=[VMState.RUNNING]),
    "list all": lambda store: store.vms.list(None, limit=10),
    "live": lambda store: store.vms.live(),
    "touch": lambda store: store.vms.touch(1),
    "history": lambda store: store.executions.list(1, before_id=100),
    "running": lambda store: store.executions.running(),
    "running in a VM": lambda store: store.executions.running(1),
    "lose running": lambda store: store.executions.lose_running(1, "stopped"),
    "snapshots": lambda store: store.snapshots.list(1),
    "pending snapshots": lambda store: store.snapshots.pending(),
    "unsettled templates": lambda store: store.templates.unsettled(),
    "held snapshots": lambda store: store.templates.held(),
    "builds": lambda store: store.template_builds.list(1, limit=10, before_id=100),
    "builds under way": lambda store: store.template_builds.building(),
    "kept of a build": lambda store: store.template_layers.deepest(1, ["a", "b"]),
    "prune keys": lambda store: store.idempotency.prune(utcnow()),
    "claim": lambda store: store.idempotency.release(1, "k"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_it_goes_through_an_index(
    store: Store, plans: list[str], call: Callable[[Store], Awaitable[object]]
) -> None:
    await call(store)
    visits = [plan for plan in plans if plan.startswith(("SCAN", "SEARCH"))]
    assert visits
    assert all("USING" in visit for visit in visits), plans


async def test_paging_sorts_nothing(store: Store, plans: list[str]) -> None:
    await store.vms.list(1, limit=10)
    await store.executions.list(1, limit=10)
    assert plans
    assert not any("TEMP B-TREE" in plan for plan in plans), plans
