"""The audit log: what is in it, what is not, and that no request fails for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vmpool.api.scopes import AUDITED, NEEDED
from vmpool.api.services import Services
from vmpool.errors import StoreFailed

from .caller import Caller
from .operations import KEYED, Operation

pytestmark = pytest.mark.anyio
With = Callable[[str | None], Caller]
NOWHERE = dict.fromkeys(
    (
        *("vm_id", "execution_id", "snapshot_id", "key_id", "user_id", "webhook_id"),
        *("template_id", "build_id"),
    ),
    2_000_000_000,
)


async def entries(owner: Caller, **only: object) -> list[dict[str, Any]]:
    """Newest first, without those of looking at the log itself."""
    query = "&".join(f"{name}={value}" for name, value in only.items())
    found: list[dict[str, Any]] = await owner.ok("GET", f"/api/audit?{query}")
    return [entry for entry in found if entry["action"] != "list_audit"]


@pytest.mark.parametrize("operation", KEYED, ids=str)
async def test_what_is_recorded_follows_from_the_scope(operation: Operation, services: Services) -> None:
    """Whatever came of it; and of an execution and of looking, nothing."""
    from vmpool.api.record import act_of

    state = {"operation": operation.id, "request_id": "r"}
    recorded = act_of({"state": state}, 200)
    assert (recorded is not None) == (NEEDED[operation.id] in AUDITED)
    refused = act_of({"state": state}, 403)
    assert refused is not None and (refused.action, refused.status) == (operation.id, 403)


async def test_who_did_what(owner: Caller, other: Caller, caller_with: With) -> None:
    vm = await other.create("box", env={"TOKEN": "hush-env"}, labels={"note": "hush-label"})
    await other.execute("box", "print('hush-code')")
    await other.ok("GET", "/api/vms/box/logs")
    kept = await other.ok("POST", "/api/vms/box/snapshot", status=201)
    await other.refused("POST", "/api/vms/box/start2", status=404, code="not_found")
    await other.refused("POST", "/api/vms/gone/stop", status=404, code="vm_not_found")
    await other.refused("GET", "/api/users", status=403, code="insufficient_scope")
    key = await other.ok("POST", "/api/keys", {"scopes": ["read"]}, status=201)
    new = await other.ok("POST", f"/api/keys/{key['id']}/rotate", {"overlap": 0}, status=201)
    await caller_with(key["key"]).refused("GET", "/api/vms", status=401, code="unauthenticated")
    await owner.ok("PATCH", f"/api/users/{vm['user_id']}", {"disabled": True, "max_vms": 3})
    await other.refused("GET", "/api/vms", status=403, code="user_disabled")

    found = await entries(owner)
    told = [
        (entry["action"], entry["status"], entry["user"], entry["target"], entry["facts"]) for entry in found
    ]
    assert told == [
        ("authenticate", 403, "somebody", None, {}),
        ("update_user", 200, "owner", f"user_id={vm['user_id']}", {"disabled": True, "max_vms": 3}),
        ("authenticate", 401, None, None, {}),
        ("rotate_key", 201, "somebody", f"key_id={key['id']}", {"new_key_id": new["id"], "overlap": 0}),
        ("create_key", 201, "somebody", f"key_id={key['id']}", {"scopes": ["read"]}),
        ("list_users", 403, "somebody", None, {}),
        ("stop_vm", 404, "somebody", "vm_id=gone", {}),
        ("create_snapshot", 201, "somebody", "vm_id=box", {"snapshot_id": kept["id"]}),
        ("create_vm", 201, "somebody", f"vm_id={vm['id']}", {"name": "box"}),
        ("create_user", 201, "owner", f"user_id={vm['user_id']}", {"name": "somebody"}),
    ]
    mine = [entry for entry in found if entry["user"] == "somebody"]
    assert {(entry["key_id"] is not None, entry["address"]) for entry in mine} == {(True, "127.0.0.1")}
    assert "hush" not in str(found) and key["key"] not in str(found) and new["key"] not in str(found)
    assert await entries(owner, user_id=vm["user_id"]) == mine
    assert [entry["action"] for entry in await entries(owner, action="stop_vm")] == ["stop_vm"]


@pytest.mark.parametrize("body", [{"code": "1"}, {"nonsense": 1}], ids=["well-formed", "the long way"])
async def test_a_refused_execution_is_there(owner: Caller, caller_with: With, body: object) -> None:
    key = await owner.ok("POST", "/api/keys", {"scopes": ["read"]}, status=201)
    reader = caller_with(key["key"])
    await reader.refused("POST", "/api/vms/1/execute", body, status=403, code="insufficient_scope")
    newest = (await entries(owner))[0]
    assert (newest["action"], newest["status"], newest["key_id"]) == ("execute", 403, key["id"])


async def test_an_entry_names_its_request(owner: Caller) -> None:
    answer = await owner.call("POST", "/api/vms/gone/stop", headers={"X-Request-ID": "mine-1"})
    assert (await entries(owner))[0]["request_id"] == answer.headers["x-request-id"] == "mine-1"


async def test_it_is_paged(owner: Caller) -> None:
    for n in range(5):
        await owner.refused("POST", f"/api/vms/n{n}/stop", status=404, code="vm_not_found")
    shown, path = [], "/api/audit?action=stop_vm&limit=2"
    while path:
        answer = await owner.call("GET", path)
        shown += [entry["target"] for entry in answer.json()]
        path = answer.links.get("next", {}).get("url", "")
    assert shown == [f"vm_id=n{n}" for n in reversed(range(5))]


async def test_a_long_name_is_cut(owner: Caller) -> None:
    await owner.call("POST", f"/api/vms/{'x' * 60}/stop")
    assert len((await entries(owner))[0]["target"]) <= 200


async def test_a_log_that_cannot_be_written_fails_no_request(
    owner: Caller, services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: object) -> None:
        raise StoreFailed("the disk is full")

    monkeypatch.setattr(services.store.audit, "append", broken)
    await owner.create("box")
    assert "action='create_vm'" in caplog.text and "the disk is full" in caplog.text
