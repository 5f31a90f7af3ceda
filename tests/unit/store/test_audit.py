"""The audit log is appended to, read and cut at its old end; nothing in it can be changed."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from vmpool.domain import User
from vmpool.domain.audit import Act
from vmpool.errors import StoreFailed
from vmpool.store import Store, open_store, utcnow

from .conftest import Clock

pytestmark = pytest.mark.anyio


async def test_an_act_is_read_as_it_was_written(store: Store, user: User, clock: Clock) -> None:
    key, _ = await store.keys.create(user.id, "k")
    act = Act(
        action="delete_vm",
        status=204,
        request_id="r1",
        user_id=user.id,
        key_id=key.id,
        address="2001:db8::1",
        target="vm_id=box",
        facts={"max_vms": None, "admin": True, "name": "ä\x00"},
    )
    await store.audit.append(act)
    await store.audit.append(Act(action="authenticate", status=401, request_id="r2"))
    newest, oldest = await store.audit.list(limit=10)
    assert (oldest.at, oldest.user, oldest.act) == (clock.now, user.name, act)
    assert (newest.user, newest.act.user_id, newest.act.facts) == (None, None, {})


async def test_it_is_paged_and_narrowed_down(store: Store, user: User) -> None:
    for n in range(6):
        action, user_id = ("start_vm", user.id) if n % 2 else ("stop_vm", None)
        await store.audit.append(Act(action, 200, f"r{n}", user_id))
    first = await store.audit.list(limit=4)
    rest = await store.audit.list(limit=4, before_id=first[-1].id)
    assert [entry.act.request_id for entry in first + rest] == [f"r{n}" for n in reversed(range(6))]
    by_user = await store.audit.list(limit=10, user_id=user.id)
    assert [entry.act.request_id for entry in by_user] == ["r5", "r3", "r1"]
    assert await store.audit.list(limit=10, action="start_vm") == by_user
    assert await store.audit.list(limit=10, action="start_vm", user_id=user.id + 1) == []


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET action = 'nothing'", "DELETE FROM audit_log", "DELETE FROM users"]
)
async def test_the_database_refuses_to_change_it(empty_url: str, statement: str) -> None:
    async with open_store(empty_url) as store:
        user = await store.users.create("ada")
        await store.audit.append(Act("stop_vm", 200, "r1", user.id))
        kept = await store.audit.list(limit=10)
        with pytest.raises(StoreFailed, match=r"append-only|FOREIGN KEY|foreign key"):
            await store.database.write(lambda connection: connection.execute(text(statement)))
        assert await store.audit.list(limit=10) == kept


async def test_what_is_past_its_retention_goes(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.store.audit.PRUNE_CHUNK", 2)
    now = utcnow()

    def clock() -> datetime:
        return now

    async with open_store(empty_url, clock=clock) as store:
        for age in (9, 8, 7, 6, 5, 2, 0):
            now = utcnow() - timedelta(days=age)
            await store.audit.append(Act("stop_vm", 200, f"{age} days"))
        assert await store.audit.prune(utcnow() - timedelta(days=4)) == 5
        left = await store.audit.list(limit=10)
        assert [entry.act.request_id for entry in left] == ["0 days", "2 days"]
        assert await store.audit.keep_newest(1, utcnow()) == 1
        left = await store.audit.list(limit=10)
        assert [entry.act.request_id for entry in left] == ["0 days"]
        with pytest.raises(StoreFailed, match="append-only"):
            await store.audit.prune(utcnow() + timedelta(days=1))
        assert await store.audit.list(limit=10) == left


async def test_the_oldest_beyond_a_count_go_but_none_of_the_last_day(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmpool.store.audit.PRUNE_CHUNK", 2)
    now = utcnow()

    def clock() -> datetime:
        return now

    async def left(store: Store) -> list[str]:
        return [entry.act.request_id for entry in reversed(await store.audit.list(limit=10))]

    async with open_store(empty_url, clock=clock) as store:
        for age in (9, 8, 7, 6, 0, 0, 0):
            now = utcnow() - timedelta(days=age)
            await store.audit.append(Act("stop_vm", 200, f"{age}"))
        assert await store.audit.keep_newest(7, utcnow()) == 0
        assert await store.audit.keep_newest(6, utcnow()) == 1
        assert await left(store) == ["8", "7", "6", "0", "0", "0"]
        assert await store.audit.keep_newest(1, utcnow()) == 3
        assert await left(store) == ["0", "0", "0"]
