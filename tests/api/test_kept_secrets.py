"""Secrets over HTTP: in, by name, and never out."""

from __future__ import annotations

import json

import pytest

from .caller import Caller
from .events import following

pytestmark = pytest.mark.anyio
SECRETS = "/api/secrets"
VALUE = "correct-horse-battery"


async def test_a_secret_from_its_setting_to_its_end(owner: Caller, other: Caller) -> None:
    vm = await owner.create()
    kept = await owner.ok("PUT", f"{SECRETS}/TOKEN", {"value": VALUE})
    assert (kept["name"], kept["vm_id"]) == ("TOKEN", None)
    own = await owner.ok("PUT", f"{SECRETS}/OWN?vm=box", {"value": VALUE + "!"})
    assert own["vm_id"] == vm["id"]
    assert await owner.ok("GET", SECRETS) == [own, kept] and await other.ok("GET", SECRETS) == []
    ran = await owner.shell("box", "echo $TOKEN; echo $OWN", secrets=["TOKEN", "OWN"])
    assert ran["output"] == "*" * 21 + "\n" + "*" * 22 + "\n"
    (item,) = await owner.ok(
        "POST", "/api/vms/batch-execute", {"command": "echo $TOKEN", "secrets": ["TOKEN"]}
    )
    assert item["output"] == "*" * 21 + "\n"
    await owner.refused(
        "POST",
        "/api/vms/box/execute",
        {"command": "true", "secrets": ["NONE"]},
        status=404,
        code="secret_not_found",
    )
    await other.refused("PUT", f"{SECRETS}/TOKEN?vm=box", {"value": VALUE}, status=404, code="vm_not_found")
    async with following(
        owner,
        "/api/vms/box/execute",
        {"command": "echo corr; sleep 0.1; echo $TOKEN", "secrets": ["TOKEN"]},
    ) as stream:
        said = [json.loads(event.data) async for event in stream.named()]
    text = "".join(one.get("text", "") for one in said if "text" in one)
    assert text == "corr\n" + "*" * 21 + "\n"
    await owner.ok("DELETE", f"{SECRETS}/TOKEN", status=204)
    await owner.refused("DELETE", f"{SECRETS}/TOKEN", status=404, code="secret_not_found")
    audit = await owner.ok("GET", "/api/audit?action=set_secret")
    assert audit[-1]["target"] == "secret=TOKEN" and VALUE not in json.dumps(audit)
    for path in (SECRETS, "/api/events", "/api/vms/box/executions", "/api/vms/box/logs", "/api/vms/box"):
        assert VALUE not in (await owner.call("GET", path)).text


@pytest.mark.parametrize(
    "body", [{"value": "short"}, {"value": "x" * 9000}, {"value": 12345678}, {}], ids=str
)
async def test_what_is_wrong_is_422_and_not_repeated(owner: Caller, body: object) -> None:
    problem = await owner.refused("PUT", f"{SECRETS}/TOKEN", body, status=422, code="invalid_request")
    assert "xxxx" not in str(problem) and "12345678" not in str(problem)
    await owner.refused("PUT", f"{SECRETS}/NOT-ONE", {"value": VALUE}, status=422, code="invalid_request")
