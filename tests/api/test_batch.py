"""The same code in many VMs over HTTP, streamed: each result as it comes."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from vmpool.api import events
from vmpool.api.services import Services

from .caller import Caller
from .events import EventStream, following

pytestmark = pytest.mark.anyio

BATCH = "/api/vms/batch-execute"
NAP = {"command": "sleep $NAP; echo done"}
"""What takes as long as the VM it runs in was made to say."""


async def create_ten(owner: Caller) -> list[Any]:
    """Ten VMs, of which the first does not come to an end with `NAP`."""
    naps = ["600", *["0"] * 9]
    return [await owner.create(f"vm-{place}", env={"NAP": nap}) for place, nap in enumerate(naps)]


async def taken(stream: EventStream, count: int | None = None) -> list[Any]:
    """The data of the next `count` events, or of all until the stream ends, by name."""
    found: list[Any] = []
    async for event in stream.named():
        found.append((event.name, json.loads(event.data)))
        if len(found) == count:
            break
    return found


async def test_a_slow_vm_does_not_hold_up_the_others(owner: Caller) -> None:
    vms = await create_ten(owner)
    async with following(owner, BATCH, NAP) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        nine = await taken(stream, 9)
        assert {name for name, _ in nine} == {"message"}
        assert {arrived["place"] for _, arrived in nine} == set(range(1, 10))
        for _, arrived in nine:
            item = arrived["item"]
            assert item == await owner.ok("GET", f"/api/vms/{item['vm_id']}/executions/{item['id']}")
            assert (item["vm_id"], item["output"]) == (vms[arrived["place"]]["id"], "done\n")
        await owner.ok("POST", "/api/vms/vm-0/stop")
        (name, last), (end, told) = await taken(stream)
    assert (name, last["place"], last["item"]["vm_id"]) == ("message", 0, vms[0]["id"])
    assert last["item"]["state"] == "lost"
    assert (end, told) == ("end", {"items": 10})


async def test_one_vms_failure_is_its_event(owner: Caller, other: Caller) -> None:
    first = await owner.create("first")
    foreign = await other.create("foreign")
    body = {"code": "print(1)", "vm_ids": ["none", first["id"], foreign["id"], "first"]}
    async with following(owner, BATCH, body) as stream:
        *arrived, end = await taken(stream)
    items = {data["place"]: data["item"] for _, data in arrived}
    assert end == ("end", {"items": 4})
    assert [items[place]["error"]["code"] for place in (0, 2)] == ["vm_not_found"] * 2
    assert (items[0]["vm_id"], items[2]["vm_id"]) == ("none", foreign["id"])
    assert items[0]["error"]["request_id"] == stream.headers["x-request-id"]
    assert [items[place]["output"] for place in (1, 3)] == ["1\n"] * 2


@pytest.mark.parametrize("body", [{"code": "1"}, {"code": "1", "vm_ids": []}])
async def test_a_batch_of_nothing_ends_at_once(owner: Caller, body: object) -> None:
    async with following(owner, BATCH, body) as stream:
        assert await taken(stream) == [("end", {"items": 0})]


async def test_what_a_program_writes_is_one_event(owner: Caller) -> None:
    await owner.create()
    async with following(owner, BATCH, {"code": "print('a\\n\\ndata: b\\r\\n\\u2028')"}) as stream:
        (_, arrived), _ = await taken(stream)
    assert arrived["item"]["output"] == "a\n\ndata: b\r\n\u2028\n"


async def test_a_reader_that_leaves_leaves_the_programs_running(owner: Caller, services: Services) -> None:
    vms = await create_ten(owner)
    async with following(owner, BATCH, NAP) as stream:
        assert len(await taken(stream, 1)) == 1
    with anyio.fail_after(10):
        while services.pool._executions.total_in_flight() > 1:  # noqa: ASYNC110 - looks from outside
            await anyio.sleep(0.005)
    for vm in vms[1:]:
        (ran,) = await owner.ok("GET", f"/api/vms/{vm['id']}/executions")
        assert (ran["output"], ran["state"]) == ("done\n", "finished")
    (runs,) = await owner.ok("GET", "/api/vms/vm-0/executions")
    assert runs["state"] == "running"


async def test_an_idle_stream_is_kept_open(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.01)
    await owner.create(env={"NAP": "600"})
    async with following(owner, BATCH, NAP) as stream:
        assert [await stream.chunk() for _ in range(3)] == [b": still here\n\n"] * 3


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/event-stream", "text/event-stream; charset=utf-8"),
        ("application/json;q=0.1, Text/Event-Stream;q=0.9", "text/event-stream; charset=utf-8"),
    ],
)
async def test_the_caller_says_which(owner: Caller, accept: str, kind: str) -> None:
    answer = await owner.call("POST", BATCH, {"code": "1"}, headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == kind


async def test_what_is_wrong_with_the_request_is_said_as_ever(owner: Caller, nobody: Caller) -> None:
    accept = {"Accept": "text/event-stream"}
    refused = await owner.call("POST", BATCH, {"code": "1", "vm_ids": "all"}, headers=accept)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    unknown = await nobody.call("POST", BATCH, {"code": "1"}, headers=accept)
    assert (unknown.status_code, unknown.json()["code"]) == (401, "unauthenticated")
