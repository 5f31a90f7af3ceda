"""Users, what they may take, and what administrators see of the whole pool."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmpool.api.services import Services

from .caller import Caller

pytestmark = pytest.mark.anyio
With = Callable[[str | None], Caller]


async def test_users(owner: Caller, caller_with: With) -> None:
    made = await owner.ok("POST", "/api/users", {"name": "ada", "admin": True}, status=201)
    assert made["key"]["scopes"] == ["admin", "execute", "manage", "read"]
    ada = caller_with(made["key"]["key"])
    assert [user["name"] for user in await ada.ok("GET", "/api/users")] == ["ada", "owner"]
    assert (await ada.ok("GET", f"/api/users/{made['id']}"))["admin"] is True
    await owner.refused("POST", "/api/users", {"name": "ada"}, status=409, code="conflict")
    await owner.refused("POST", "/api/users", {"name": "A b"}, status=422, code="invalid_request")
    for method in ("GET", "PATCH"):
        body: object = {} if method == "PATCH" else None
        await owner.refused(method, "/api/users/999", body, status=404, code="user_not_found")
    plain = await owner.ok("POST", "/api/users", {"name": "bob"}, status=201)
    assert plain["key"]["scopes"] == ["execute", "manage", "read"]


async def test_a_disabled_user_is_refused_at_once_and_their_vms_stop(
    owner: Caller, caller_with: With
) -> None:
    made = await owner.ok("POST", "/api/users", {"name": "ada"}, status=201)
    ada, path = caller_with(made["key"]["key"]), f"/api/users/{made['id']}"
    await ada.create("one")
    await ada.create("two")
    await ada.ok("POST", "/api/vms/two/stop")
    mine = await owner.create("mine")
    disabled = await owner.ok("PATCH", path, {"disabled": True})
    assert disabled["disabled_at"] is not None
    for _ in range(2):
        await ada.refused("GET", "/api/vms", status=403, code="user_disabled")
        await ada.refused("POST", "/api/vms/one/execute", {"code": "1"}, status=403, code="user_disabled")
    states = {vm["name"]: vm["status"] for vm in await owner.ok("GET", "/api/pool/vms")}
    assert states == {"one": "stopped", "two": "stopped", "mine": "running"}
    assert await owner.ok("PATCH", path, {"disabled": True}) == disabled
    enabled = await owner.ok("PATCH", path, {"disabled": False})
    assert enabled["disabled_at"] is None
    assert len(await ada.ok("GET", "/api/vms")) == 2
    assert (await owner.ok("GET", f"/api/vms/{mine['id']}"))["status"] == "running"


async def test_an_administrator_who_is_none_any_more(owner: Caller, caller_with: With) -> None:
    made = await owner.ok("POST", "/api/users", {"name": "ada", "admin": True}, status=201)
    ada = caller_with(made["key"]["key"])
    await ada.ok("GET", "/api/users")
    await owner.ok("PATCH", f"/api/users/{made['id']}", {"admin": False})
    await ada.refused("GET", "/api/users", status=403, code="forbidden")
    await ada.ok("GET", "/api/vms")


@pytest.mark.parametrize("body", [{"admin": False}, {"disabled": True}])
async def test_the_last_administrator_stays(owner: Caller, services: Services, body: object) -> None:
    (me,) = await services.store.users.list()
    await owner.refused("PATCH", f"/api/users/{me.id}", body, status=409, code="conflict")
    assert await services.store.users.list() == [me]


async def test_a_quota_of_ones_own(owner: Caller, caller_with: With) -> None:
    made = await owner.ok("POST", "/api/users", {"name": "ada", "max_vms": 1}, status=201)
    ada, path = caller_with(made["key"]["key"]), f"/api/users/{made['id']}"
    await ada.create("one")
    two = {"name": "two", "language": "python"}
    refused = await ada.refused("POST", "/api/vms/create", two, status=429, code="quota_exceeded")
    assert refused.context["limit"] == 1
    assert (await ada.ok("GET", "/api/vms/pool-status"))["limits"]["max_vms_per_user"] == 1
    assert (await owner.ok("GET", "/api/vms/pool-status"))["limits"]["max_vms_per_user"] == 10
    assert (await owner.ok("PATCH", path, {"max_vms": 2}))["max_vms"] == 2
    await ada.create("two")
    three = {"name": "three", "language": "python"}
    await ada.refused("POST", "/api/vms/create", three, status=429, code="quota_exceeded")
    assert (await owner.ok("PATCH", path, {"admin": False}))["max_vms"] == 2  # left out: it stays
    assert (await owner.ok("PATCH", path, {"max_vms": None}))["max_vms"] is None
    await ada.create("three")


@pytest.mark.parametrize("body", [{"max_vms": -1}, {"max_vms": 2**31}, {"name": "x"}, {"disabled": "maybe"}])
async def test_a_wrong_change_is_422(owner: Caller, body: object) -> None:
    await owner.refused("PATCH", "/api/users/1", body, status=422, code="invalid_request")


async def test_the_pool_by_user(owner: Caller, other: Caller) -> None:
    await other.create("one", cpu_limit=0.5, memory_limit=100, disk_limit=200)
    await other.create("two", cpu_limit=0.5, memory_limit=100, disk_limit=200)
    await other.ok("POST", "/api/vms/two/stop")
    somebody, me = await owner.ok("GET", "/api/pool/users")
    assert (somebody["user"]["name"], me["user"]["name"]) == ("somebody", "owner")
    del somebody["user"], me["user"]
    assert somebody == {"vms": 2, "running": 1, "cpu": 1.0, "memory": 200, "disk": 400, "executions": 0}
    assert me == {"vms": 0, "running": 0, "cpu": 0, "memory": 0, "disk": 0, "executions": 0}


async def test_everybodys_vms_are_paged(owner: Caller, other: Caller) -> None:
    made = [(await caller.create(name))["id"] for name in ("a", "b") for caller in (owner, other)]
    shown, path = [], "/api/pool/vms?limit=3"
    while path:
        answer = await owner.call("GET", path)
        shown += [vm["id"] for vm in answer.json()]
        path = answer.links.get("next", {}).get("url", "")
    assert shown == made[::-1]
    assert len({vm["user_id"] for vm in await owner.ok("GET", "/api/pool/vms")}) == 2


async def test_keys_of_another_user(owner: Caller, other: Caller, caller_with: With) -> None:
    (user,) = [one for one in await owner.ok("GET", "/api/users") if one["name"] == "somebody"]
    path = f"/api/users/{user['id']}/keys"
    made = await owner.ok("POST", path, {"name": "spare", "scopes": ["read"], "ttl": 60}, status=201)
    assert (made["user_id"], made["scopes"]) == (user["id"], ["read"])
    spare = caller_with(made["key"])
    await spare.ok("GET", "/api/vms")
    assert [key["name"] for key in await owner.ok("GET", path)] == ["spare", "first"]
    assert await other.ok("GET", "/api/keys") == await owner.ok("GET", path)
    await owner.ok("DELETE", f"{path}/{made['id']}", status=204)
    await spare.refused("GET", "/api/vms", status=401, code="unauthenticated")
    mine = (await owner.ok("GET", "/api/keys"))[0]["id"]
    await owner.refused("DELETE", f"{path}/{mine}", status=404, code="key_not_found")
    for method in ("GET", "POST"):
        await owner.refused(method, "/api/users/999/keys", status=404, code="user_not_found")
