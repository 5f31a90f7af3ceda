"""API keys: made, listed, rotated and revoked, and how long a lookup is remembered."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from vmpool.api.auth import Authenticator
from vmpool.api.services import Services
from vmpool.errors import Unauthenticated

from .caller import Caller

pytestmark = pytest.mark.anyio
With = Callable[[str | None], Caller]


async def test_a_new_key_works_until_revoked(owner: Caller, caller_with: With) -> None:
    made = await owner.ok("POST", "/api/keys", {"name": "ci"}, status=201)
    assert made["key"].startswith(made["prefix"])
    second = caller_with(made["key"])
    await second.ok("GET", "/api/vms")
    listed = await owner.ok("GET", "/api/keys")
    assert [key["name"] for key in listed] == ["ci", "owner.key"]
    assert made["key"] not in str(listed)
    await second.ok("DELETE", f"/api/keys/{made['id']}", status=204)
    await second.refused("GET", "/api/vms", status=401, code="unauthenticated")
    await owner.ok("DELETE", f"/api/keys/{made['id']}", status=204)
    assert len(await owner.ok("GET", "/api/keys")) == 1


async def test_a_key_without_a_body(owner: Caller) -> None:
    made = await owner.ok("POST", "/api/keys", status=201)
    assert made["expires_at"] is None


async def test_a_key_with_an_end(owner: Caller) -> None:
    made = await owner.ok("POST", "/api/keys", {"ttl": 3600}, status=201)
    created, ends = (datetime.fromisoformat(made[name]) for name in ("created_at", "expires_at"))
    assert timedelta(seconds=3590) < ends - created < timedelta(seconds=3610)


@pytest.mark.parametrize("body", [{"ttl": 0}, {"ttl": 10**30}, {"name": ""}, {"secret": "mine"}])
async def test_a_bad_key_is_422(owner: Caller, body: object) -> None:
    await owner.refused("POST", "/api/keys", body, status=422, code="invalid_request")


@pytest.mark.parametrize("key_id", ["0", "999", str(2**63 - 1)])
async def test_an_unknown_key_is_404(owner: Caller, key_id: str) -> None:
    await owner.refused("DELETE", f"/api/keys/{key_id}", status=404, code="key_not_found")


async def test_a_new_key_has_no_administration_unless_asked(owner: Caller, caller_with: With) -> None:
    usual = await owner.ok("POST", "/api/keys", status=201)
    assert usual["scopes"] == ["execute", "manage", "read"]
    await caller_with(usual["key"]).refused("GET", "/api/users", status=403, code="insufficient_scope")
    asked = await owner.ok("POST", "/api/keys", {"scopes": ["admin"]}, status=201)
    await caller_with(asked["key"]).ok("GET", "/api/users")
    listed = {key["id"]: key["scopes"] for key in await owner.ok("GET", "/api/keys")}
    assert (listed[usual["id"]], listed[asked["id"]]) == (usual["scopes"], ["admin"])


async def test_a_key_makes_none_that_may_do_more(owner: Caller, caller_with: With) -> None:
    made = await owner.ok("POST", "/api/keys", {"scopes": ["manage", "read"], "ttl": 60}, status=201)
    narrow = caller_with(made["key"])
    for scopes in (["execute"], ["read", "admin"]):
        await narrow.refused("POST", "/api/keys", {"scopes": scopes}, status=403, code="insufficient_scope")
    for body in (None, {"ttl": 3600}):
        child = await narrow.ok("POST", "/api/keys", body, status=201)
        assert (child["scopes"], child["expires_at"]) == (["manage", "read"], made["expires_at"])
    shorter = await narrow.ok("POST", "/api/keys", {"ttl": 30}, status=201)
    assert shorter["expires_at"] < made["expires_at"]


async def test_a_key_is_not_rotated_by_one_that_may_do_less(owner: Caller, caller_with: With) -> None:
    wide = await owner.ok("POST", "/api/keys", status=201)
    made = await owner.ok("POST", "/api/keys", {"scopes": ["manage"]}, status=201)
    path = f"/api/keys/{wide['id']}/rotate"
    await caller_with(made["key"]).refused("POST", path, status=403, code="insufficient_scope")
    await caller_with(wide["key"]).ok("GET", "/api/vms")


async def test_a_rotated_key_goes_on_for_a_while_or_not_at_all(owner: Caller, caller_with: With) -> None:
    first = await owner.ok("POST", "/api/keys", {"name": "ci"}, status=201)
    second = await caller_with(first["key"]).ok("POST", f"/api/keys/{first['id']}/rotate", status=201)
    assert (second["name"], second["scopes"], second["expires_at"]) == ("ci", first["scopes"], None)
    for key in (first, second):
        await caller_with(key["key"]).ok("GET", "/api/vms")
    body = {"overlap": 0}
    third = await owner.ok("POST", f"/api/keys/{second['id']}/rotate", body, status=201)
    await caller_with(second["key"]).refused("GET", "/api/vms", status=401, code="unauthenticated")
    await caller_with(third["key"]).ok("GET", "/api/vms")
    await owner.refused("POST", f"/api/keys/{second['id']}/rotate", status=409, code="conflict")


@pytest.mark.parametrize(
    "body", [{"scopes": []}, {"scopes": ["root"]}, {"scopes": ["read"] * 5}, {"scopes": "read"}]
)
async def test_wrong_scopes_are_422(owner: Caller, body: object) -> None:
    await owner.refused("POST", "/api/keys", body, status=422, code="invalid_request")


async def test_a_lookup_is_remembered_and_forgotten(services: Services) -> None:
    """Time decides: a key's own end is not overrun by what is remembered."""
    user = await services.store.users.ensure("ada")
    key, secret = await services.store.keys.create(user.id, "k", datetime(2100, 1, 1))
    now = datetime(2099, 12, 31, 23, 59, 50)
    authenticate = Authenticator(services.store.keys, clock=lambda: now)
    header = f"Bearer {secret}"
    assert (await authenticate(header)).user == user
    await services.store.keys.revoke(user.id, key.id)
    assert (await authenticate(header)).user == user  # not told of it yet
    now = datetime(2100, 1, 1)
    with pytest.raises(Unauthenticated):
        await authenticate(header)


async def test_forgetting_takes_effect_at_once(services: Services) -> None:
    user = await services.store.users.ensure("ada")
    key, secret = await services.store.keys.create(user.id, "k")
    authenticate = Authenticator(services.store.keys)
    await authenticate(f"bearer {secret}")
    await services.store.keys.revoke(user.id, key.id)
    authenticate.forget()
    with pytest.raises(Unauthenticated):
        await authenticate(f"bearer {secret}")


async def test_what_is_remembered_is_bounded(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await services.store.users.ensure("ada")
    authenticate = Authenticator(services.store.keys)
    secrets = [(await services.store.keys.create(user.id, "k"))[1] for _ in range(4)]
    monkeypatch.setattr("vmpool.api.auth.MAX_REMEMBERED", 3)
    for secret in secrets:
        await authenticate(f"Bearer {secret}")
    assert len(authenticate._known) == 3
    assert secrets[-1] not in repr(authenticate._known)
