from __future__ import annotations

import string
from datetime import timedelta

import pytest
from sqlalchemy import text

from vmpool.domain import ApiKey, User
from vmpool.errors import KeyNotFound, NotFound
from vmpool.store import Store

from .conftest import Clock

pytestmark = pytest.mark.anyio


async def test_a_user_is_made_once(store: Store, clock: Clock) -> None:
    made = await store.users.ensure("ada")
    clock.advance(days=1)
    again = await store.users.ensure("ada")
    other = await store.users.ensure("bob")
    assert made == again == User(made.id, "ada", False, clock.now - timedelta(days=1))
    assert await store.users.get(other.id) == other
    assert await store.users.list() == [made, other]


async def test_a_user_becomes_admin_when_asked_and_stays_it(store: Store) -> None:
    assert not (await store.users.ensure("ada")).admin
    assert (await store.users.ensure("ada", admin=True)).admin
    assert (await store.users.ensure("ada")).admin


async def test_an_unknown_user_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.users.get(77)


async def test_a_key_opens_to_its_user_only_with_its_secret(store: Store, clock: Clock) -> None:
    ada, bob = await store.users.ensure("ada"), await store.users.ensure("bob")
    key, secret = await store.keys.create(ada.id, "laptop")
    _, other = await store.keys.create(bob.id, "laptop")
    assert secret != other
    used = ApiKey(key.id, ada.id, "laptop", secret[:10], clock.now)
    assert await store.keys.authenticate(secret) == (ada, used)
    for wrong in (secret[:-1], secret + "x", secret.swapcase(), "", "vmp_", "\x00", "\ud800", "ключ"):
        assert await store.keys.authenticate(wrong) is None


async def test_a_secret_is_long_url_safe_and_recognisable(store: Store, user: User) -> None:
    _, secret = await store.keys.create(user.id, "k")
    assert secret.startswith("vmp_")
    assert len(secret) >= 4 + 32
    assert set(secret) <= set(string.ascii_letters + string.digits + "-_")


async def test_the_database_never_holds_a_secret(store: Store, user: User) -> None:
    key, secret = await store.keys.create(user.id, "k")
    rows = await store.database.read(
        lambda connection: [tuple(row) for row in connection.execute(text("SELECT * FROM api_keys"))]
    )
    assert len(rows) == 1
    assert secret not in repr(rows)
    assert secret[len(key.prefix) :] not in repr(rows)
    assert secret not in repr(key)


async def test_a_revoked_key_is_refused_at_once_and_listed(store: Store, user: User, clock: Clock) -> None:
    key, secret = await store.keys.create(user.id, "k")
    revoked = await store.keys.revoke(user.id, key.id)
    assert revoked.revoked_at == clock.now
    assert await store.keys.authenticate(secret) is None
    clock.advance(hours=1)
    assert await store.keys.revoke(user.id, key.id) == revoked
    assert await store.keys.list(user.id) == [revoked]


async def test_a_foreign_key_cannot_be_revoked_or_seen(store: Store, user: User) -> None:
    other = await store.users.ensure("bob")
    key, secret = await store.keys.create(user.id, "k")
    for key_id in (key.id, key.id + 1, 2**40):
        with pytest.raises(KeyNotFound):
            await store.keys.revoke(other.id, key_id)
    assert await store.keys.list(other.id) == []
    assert await store.keys.authenticate(secret) is not None


async def test_a_key_expires(store: Store, user: User, clock: Clock) -> None:
    _, secret = await store.keys.create(user.id, "k", expires_at=clock.now + timedelta(hours=1))
    clock.advance(minutes=59)
    assert await store.keys.authenticate(secret) is not None
    clock.advance(minutes=1)
    assert await store.keys.authenticate(secret) is None


async def test_last_use_is_kept_to_the_minute(store: Store, user: User, clock: Clock) -> None:
    _, secret = await store.keys.create(user.id, "k")
    first = clock.now
    await store.keys.authenticate(secret)
    clock.advance(seconds=59)
    await store.keys.authenticate(secret)
    assert (await store.keys.list(user.id))[0].last_used_at == first
    second = clock.advance(seconds=1)
    await store.keys.authenticate(secret)
    assert (await store.keys.list(user.id))[0].last_used_at == second
