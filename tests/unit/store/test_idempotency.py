from __future__ import annotations

import anyio
import pytest
from sqlalchemy import select

from vmpool.domain import User
from vmpool.errors import IdempotencyMismatch
from vmpool.store import Fresh, InProgress, Replay, Store
from vmpool.store.models import IdempotencyRow

from .conftest import Clock

pytestmark = pytest.mark.anyio

ROUTE = "POST /api/vms/create"


async def test_a_key_is_fresh_then_in_progress_then_replayed(store: Store, user: User, clock: Clock) -> None:
    assert await store.idempotency.claim(user.id, "k", ROUTE, "h") == Fresh()
    assert await store.idempotency.claim(user.id, "k", ROUTE, "h") == InProgress(clock.now)
    await store.idempotency.complete(user.id, "k", 201, '{"name": "ü\\u0000"}')
    for _ in range(2):
        assert await store.idempotency.claim(user.id, "k", ROUTE, "h") == Replay(201, '{"name": "ü\\u0000"}')


async def test_a_key_belongs_to_one_user_route_and_body(store: Store, user: User) -> None:
    other = await store.users.ensure("bob")
    await store.idempotency.claim(user.id, "k", ROUTE, "h")
    assert await store.idempotency.claim(other.id, "k", ROUTE, "h") == Fresh()
    assert await store.idempotency.claim(user.id, "l", ROUTE, "h") == Fresh()
    for route, body_hash in ((ROUTE, "g"), ("POST /api/vms/1/execute", "h")):
        with pytest.raises(IdempotencyMismatch):
            await store.idempotency.claim(user.id, "k", route, body_hash)


async def test_a_released_key_is_fresh_and_an_answered_one_is_not_released(store: Store, user: User) -> None:
    await store.idempotency.claim(user.id, "k", ROUTE, "h")
    await store.idempotency.release(user.id, "k")
    assert await store.idempotency.claim(user.id, "k", ROUTE, "other") == Fresh()
    await store.idempotency.complete(user.id, "k", 200, "done")
    await store.idempotency.release(user.id, "k")
    assert await store.idempotency.claim(user.id, "k", ROUTE, "other") == Replay(200, "done")


async def test_a_key_lives_for_a_day(store: Store, user: User, clock: Clock) -> None:
    await store.idempotency.claim(user.id, "k", ROUTE, "h")
    await store.idempotency.complete(user.id, "k", 200, "done")
    clock.advance(hours=23, minutes=59)
    assert await store.idempotency.claim(user.id, "k", ROUTE, "h") == Replay(200, "done")
    clock.advance(minutes=1)
    assert await store.idempotency.claim(user.id, "k", ROUTE, "another") == Fresh()


async def test_keys_past_their_day_are_pruned(store: Store, user: User, clock: Clock) -> None:
    await store.idempotency.claim(user.id, "old", ROUTE, "h")
    clock.advance(hours=12)
    await store.idempotency.claim(user.id, "young", ROUTE, "h")
    clock.advance(hours=12)
    assert await store.idempotency.prune(clock()) == 1
    assert isinstance(await store.idempotency.claim(user.id, "young", ROUTE, "h"), InProgress)


async def test_claims_of_a_dead_server_are_answered(store: Store, user: User) -> None:
    await store.idempotency.claim(user.id, "open", ROUTE, "h")
    await store.idempotency.claim(user.id, "done", ROUTE, "h")
    await store.idempotency.complete(user.id, "done", 201, "made")
    assert await store.idempotency.settle_unfinished(502, "unknown") == 1
    assert await store.idempotency.claim(user.id, "open", ROUTE, "h") == Replay(502, "unknown")
    assert await store.idempotency.claim(user.id, "done", ROUTE, "h") == Replay(201, "made")


async def test_of_many_equal_claims_at_once_one_is_fresh(store: Store, user: User) -> None:
    answers: list[Fresh | Replay | InProgress] = []

    async def claim() -> None:
        answers.append(await store.idempotency.claim(user.id, "k", ROUTE, "h"))

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(claim)
    assert answers.count(Fresh()) == 1
    assert sum(isinstance(answer, InProgress) for answer in answers) == 29


async def answered(store: Store, user: User, clock: Clock, *bodies: str) -> None:
    """Keys named after their answers, one a second."""
    for body in bodies:
        clock.advance(seconds=1)
        await store.idempotency.claim(user.id, body, ROUTE, "h")
        await store.idempotency.complete(user.id, body, 200, body)


async def kept(store: Store, user: User) -> list[str]:
    """The names of the user's keys, oldest first."""
    rows = select(IdempotencyRow.key).where(IdempotencyRow.user_id == user.id)
    rows = rows.order_by(IdempotencyRow.created_at)
    return await store.database.read(lambda connection: list(connection.scalars(rows)))


async def test_of_one_users_keys_the_oldest_go_and_of_anothers_none(
    store: Store, user: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmpool.store.idempotency.PRUNE_CHUNK", 2)
    other = await store.users.ensure("bob")
    await answered(store, other, clock, "theirs")
    await answered(store, user, clock, *"abcdef")
    assert await store.idempotency.keep_newest(user.id, 6, 6) == 0
    assert await store.idempotency.keep_newest(user.id, 2, 100) == 4
    assert await kept(store, user) == ["e", "f"]
    assert await kept(store, other) == ["theirs"]
    assert await store.idempotency.claim(user.id, "a", ROUTE, "h") == Fresh()


async def test_of_one_users_answers_so_many_bytes_are_kept(store: Store, user: User, clock: Clock) -> None:
    await answered(store, user, clock, "1" * 10, "2" * 90, "\N{SNOWMAN}", "3" * 9)
    assert await store.idempotency.keep_newest(user.id, 100, 12 + 89) == 2
    assert await kept(store, user) == ["\N{SNOWMAN}", "3" * 9]
    assert await store.idempotency.keep_newest(user.id, 100, 11) == 1


async def test_a_request_at_work_keeps_its_key(store: Store, user: User, clock: Clock) -> None:
    await store.idempotency.claim(user.id, "at work", ROUTE, "h")
    await answered(store, user, clock, "later", "last")
    assert await store.idempotency.keep_newest(user.id, 1, 100) == 1
    assert await kept(store, user) == ["at work", "last"]
