from __future__ import annotations

import string
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest
from sqlalchemy import text

from vmpool.domain import ApiKey, Principal, Scope, User
from vmpool.errors import Conflict, KeyNotFound, LimitReached, NotFound, UserNotFound
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
    assert await store.users.list() == [other, made]


async def test_a_user_becomes_admin_when_asked_and_stays_it(store: Store) -> None:
    assert not (await store.users.ensure("ada")).admin
    assert (await store.users.ensure("ada", admin=True)).admin
    assert (await store.users.ensure("ada")).admin


async def test_a_name_is_given_once(store: Store) -> None:
    made = await store.users.create("ada", admin=True, max_vms=3)
    assert (made.name, made.admin, made.max_vms) == ("ada", True, 3)
    with pytest.raises(Conflict):
        await store.users.create("ada")
    assert await store.users.list() == [made]


async def test_users_are_paged(store: Store) -> None:
    made = [await store.users.create(f"u{n}") for n in range(5)]
    newest_first = made[::-1]
    assert await store.users.list(limit=2) == newest_first[:2]
    assert await store.users.list(limit=2, before_id=newest_first[1].id) == newest_first[2:4]


async def test_what_is_not_named_stays(store: Store, clock: Clock) -> None:
    await store.users.create("root", admin=True)
    ada = await store.users.create("ada", max_vms=3)
    assert await store.users.change(ada.id) == ada
    disabled = await store.users.change(ada.id, disabled=True)
    assert disabled == replace(ada, disabled_at=clock.now)
    clock.advance(days=1)
    assert await store.users.change(ada.id, disabled=True, max_vms=None) == replace(disabled, max_vms=None)
    assert await store.users.change(ada.id, disabled=False, admin=True, max_vms=0) == replace(
        ada, admin=True, max_vms=0
    )
    with pytest.raises(UserNotFound):
        await store.users.change(77, admin=True)


async def test_one_administrator_who_is_not_disabled_is_always_left(store: Store) -> None:
    """Of two who demote each other at the same moment, too."""
    pair = [await store.users.create(name, admin=True) for name in ("ada", "bob")]
    refused = []

    async def demote(user: User) -> None:
        try:
            await store.users.change(user.id, admin=False)
        except Conflict:
            refused.append(user)

    async with anyio.create_task_group() as tasks:
        for user in pair:
            tasks.start_soon(demote, user)
    assert len(refused) == 1
    with pytest.raises(Conflict, match="last administrator"):
        await store.users.change(refused[0].id, disabled=True)
    assert [user.name for user in await store.users.list() if user.admin] == [refused[0].name]


async def test_an_unknown_user_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.users.get(77)


async def test_a_key_opens_to_its_user_only_with_its_secret(store: Store, clock: Clock) -> None:
    ada, bob = await store.users.ensure("ada"), await store.users.ensure("bob")
    key, secret = await store.keys.create(ada.id, "laptop")
    _, other = await store.keys.create(bob.id, "laptop")
    assert secret != other
    used = ApiKey(key.id, ada.id, "laptop", secret[:10], clock.now)
    assert await store.keys.authenticate(secret) == Principal(ada, used)
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


async def test_a_key_keeps_its_scopes(store: Store, user: User) -> None:
    _, secret = await store.keys.create(user.id, "k", scopes={Scope.READ, Scope.EXECUTE})
    found = await store.keys.authenticate(secret)
    assert found is not None and found.key.scopes == {Scope.READ, Scope.EXECUTE}


async def test_a_rotated_key_gives_way_to_its_like(store: Store, user: User, clock: Clock) -> None:
    ends = clock.now + timedelta(hours=10)
    old, old_secret = await store.keys.create(user.id, "ci", ends, {Scope.READ})
    clock.advance(hours=9)
    new, new_secret = await store.keys.rotate(user.id, old.id, timedelta(minutes=5))
    assert (new.name, new.scopes) == (old.name, old.scopes)
    assert new.expires_at == clock.now + timedelta(hours=10)
    clock.advance(minutes=4)
    assert await store.keys.authenticate(old_secret) and await store.keys.authenticate(new_secret)
    clock.advance(minutes=1)
    assert await store.keys.authenticate(old_secret) is None
    assert await store.keys.authenticate(new_secret)
    with pytest.raises(Conflict):
        await store.keys.rotate(user.id, old.id, timedelta())
    latest = clock.now + timedelta(hours=1)
    last, _ = await store.keys.rotate(user.id, new.id, timedelta(), latest)
    assert last.expires_at == latest
    assert await store.keys.authenticate(new_secret) is None


async def test_rotating_never_lengthens_the_old_ones_life(store: Store, user: User, clock: Clock) -> None:
    ends = clock.now + timedelta(minutes=1)
    old, _ = await store.keys.create(user.id, "k", ends)
    await store.keys.rotate(user.id, old.id, timedelta(hours=1))
    assert (await store.keys.get(user.id, old.id)).expires_at == ends


async def test_a_foreign_key_cannot_be_rotated(store: Store, user: User) -> None:
    key, secret = await store.keys.create(user.id, "k")
    other = await store.users.create("bob")
    with pytest.raises(KeyNotFound):
        await store.keys.rotate(other.id, key.id, timedelta())
    assert await store.keys.authenticate(secret) is not None


async def test_a_user_has_so_many_keys_that_work(
    store: Store, user: User, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr("vmpool.store.keys.MAX_KEYS", 3)
    first, _ = await store.keys.create(user.id, "1")
    await store.keys.create(user.id, "2", clock.now + timedelta(hours=1))
    await store.keys.create(user.id, "3")
    with pytest.raises(LimitReached):
        await store.keys.create(user.id, "4")
    await store.keys.revoke(user.id, first.id)
    await store.keys.create(user.id, "4")
    with pytest.raises(LimitReached):
        await store.keys.create(user.id, "5")
    clock.advance(hours=1)
    await store.keys.create(user.id, "5")


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
