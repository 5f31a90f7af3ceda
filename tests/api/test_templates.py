"""Templates of users over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from .caller import Caller

pytestmark = pytest.mark.anyio
TEMPLATES = "/api/templates"


async def publish(caller: Caller, name: str = "mine", **fields: object) -> Any:
    body = {"name": name, **(fields or {"vm_id": "box"})}
    return await caller.ok("POST", TEMPLATES, body, status=201)


async def test_a_template_from_its_publication_to_its_end(owner: Caller) -> None:
    vm = await owner.create()
    await owner.shell("box", "echo kept > note")
    made = await publish(owner, vm_id=vm["id"], description="a note")
    assert (made["name"], made["parent"], made["parent_id"], made["shared"]) == (
        "mine",
        "python",
        None,
        False,
    )
    snapshot = await owner.ok("POST", "/api/vms/box/snapshot", {"name": "s"}, status=201)
    second = await publish(owner, "second", snapshot_id=snapshot["id"])
    assert await owner.ok("GET", TEMPLATES) == [second, made]
    for reference in (made["id"], "mine"):
        assert await owner.ok("GET", f"{TEMPLATES}/{reference}") == made
    await owner.ok("DELETE", "/api/vms/box", status=204)
    body = {"name": "fresh", "template": "mine"}
    fresh = await owner.ok("POST", "/api/vms/create", body, status=201)
    assert (fresh["language"], fresh["template"], fresh["template_id"]) == ("python", "mine", made["id"])
    assert (await owner.shell("fresh", "cat note"))["output"] == "kept\n"
    changed = await owner.ok("PATCH", f"{TEMPLATES}/mine", {"description": "another"})
    assert changed == {**made, "description": "another"}
    assert await owner.ok("PATCH", f"{TEMPLATES}/mine", {}) == changed
    await owner.ok("DELETE", f"{TEMPLATES}/mine", status=204)
    await owner.refused("DELETE", f"{TEMPLATES}/mine", status=404, code="template_not_found")
    assert (await owner.ok("GET", "/api/vms/fresh"))["template"] == "mine"
    seen = [event["type"] for event in await owner.ok("GET", "/api/events?type=template")]
    assert [kind for kind in seen if kind.startswith("template.")] == [
        "template.deleted",
        "template.changed",
        "template.changed",
        "template.ready",
        "template.ready",
    ]
    audit = await owner.ok("GET", "/api/audit?action=create_template")
    assert audit[-1]["target"] == f"template_id={made['id']}"


async def test_the_same_key_makes_one(owner: Caller) -> None:
    await owner.create()
    body = {"name": "once", "vm_id": "box"}
    first = await owner.ok("POST", TEMPLATES, body, status=201, key="k")
    assert await owner.ok("POST", TEMPLATES, body, status=201, key="k") == first
    await owner.refused("POST", TEMPLATES, body, status=409, code="conflict")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "fine"},
        {"name": "fine", "vm_id": "box", "snapshot_id": 1},
        {"name": "python", "vm_id": "box"},
        {"name": "js", "vm_id": "box"},
        {"name": "1", "vm_id": "box"},
        {"name": "../x", "vm_id": "box"},
        {"name": "fine", "vm_id": "box", "description": "x" * 1001},
        {"name": "fine", "vm_id": "box", "shared": True},
        {"vm_id": "box"},
    ],
    ids=str,
)
async def test_what_is_wrong_is_422(owner: Caller, body: object) -> None:
    await owner.create()
    await owner.refused("POST", TEMPLATES, body, status=422, code="invalid_request")
    assert await owner.ok("GET", TEMPLATES) == []


async def test_sharing_is_an_administrators(owner: Caller, other: Caller) -> None:
    await owner.create()
    await owner.shell("box", "echo everybodys > note")
    made = await publish(owner)
    await other.create("own")
    await publish(other, "own", vm_id="own")
    await other.refused("PATCH", f"{TEMPLATES}/own", {"shared": True}, status=403, code="insufficient_scope")
    await other.refused("GET", f"{TEMPLATES}/mine", status=404, code="template_not_found")
    await other.refused(
        "PATCH", f"{TEMPLATES}/{made['id']}", {"shared": True}, status=404, code="template_not_found"
    )
    assert (await owner.ok("PATCH", f"{TEMPLATES}/mine", {"shared": True}))["shared"]
    assert [one["name"] for one in await other.ok("GET", TEMPLATES)] == ["own", "mine"]
    await other.ok("POST", "/api/vms/create", {"name": "theirs", "template": "mine"}, status=201)
    assert (await other.shell("theirs", "cat note"))["output"] == "everybodys\n"
    for method, body in (("DELETE", None), ("PATCH", {"shared": False}), ("PATCH", {"description": "x"})):
        await other.refused(method, f"{TEMPLATES}/mine", body, status=404, code="template_not_found")
    await owner.ok("PATCH", f"{TEMPLATES}/mine", {"shared": False})
    await other.refused(
        "POST",
        "/api/vms/create",
        {"name": "more", "template": "mine"},
        status=404,
        code="template_not_found",
    )


async def test_a_vm_needs_a_language_or_a_template(owner: Caller) -> None:
    problem = await owner.refused(
        "POST", "/api/vms/create", {"name": "none"}, status=422, code="invalid_request"
    )
    assert "language" in problem.detail
    made = await owner.ok("POST", "/api/vms/create", {"name": "some", "template": "nodejs"}, status=201)
    assert (made["language"], made["template"], made["template_id"]) == ("nodejs", "nodejs", None)
