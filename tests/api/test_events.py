"""Events, over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from .caller import Caller, problem
from .events import EventStream, following

pytestmark = pytest.mark.anyio
EVENTS = "/api/events"


async def until(stream: EventStream, last: str) -> list[dict[str, Any]]:
    """What the stream's events hold, up to one of this type."""
    found: list[dict[str, Any]] = []
    async for event in stream.named():
        assert event.name == "message"
        found.append(json.loads(event.data))
        assert event.id == str(found[-1]["id"])
        if found[-1]["type"] == last:
            return found
    raise AssertionError("ended")


async def test_a_stream_of_what_changes(owner: Caller, other: Caller) -> None:
    async with following(owner, EVENTS) as stream:
        await other.create("theirs")
        vm = await owner.create()
        ran = await owner.execute("box")
        found = [one async for one in _several(stream, 4)]
    assert [one["type"] for one in found] == [
        "vm.creating",
        "vm.running",
        "execution.running",
        "execution.finished",
    ]
    assert {one["vm_id"] for one in found} == {vm["id"]}
    assert found[3]["execution_id"] == ran["id"]
    assert found[3]["facts"]["exit_code"] == 0
    assert found[3]["time"].endswith("Z")
    assert "print" not in json.dumps(found)
    listed = await owner.ok("GET", EVENTS)
    assert listed == found[::-1]
    assert await other.ok("GET", f"{EVENTS}?vm={vm['id']}") == []


async def _several(stream: EventStream, count: int) -> AsyncIterator[dict[str, Any]]:
    async for event in stream.named():
        yield json.loads(event.data)
        count -= 1
        if not count:
            return


async def test_the_number_to_go_on_from_comes_first(owner: Caller) -> None:
    async with following(owner, EVENTS) as stream:
        first = {await stream.chunk(), await stream.chunk()}
    (number,) = (int(chunk.removeprefix(b"id: ")) for chunk in first if chunk.startswith(b"id: "))
    await owner.create()
    async with following(owner, EVENTS, last_event_id=str(number)) as stream:
        found = await until(stream, "vm.running")
    assert len(found) == 2
    async with following(owner, f"{EVENTS}?after={number + 10}", last_event_id=str(found[0]["id"])) as stream:
        assert await until(stream, "vm.running") == found[1:]
    async with following(owner, f"{EVENTS}?after=0&follow=true&type=vm.running") as stream:
        assert await until(stream, "vm.running") == found[1:]


async def test_pages_and_what_is_asked_for(owner: Caller) -> None:
    vm = await owner.create()
    await owner.execute("box")
    await owner.ok("POST", "/api/vms/box/snapshot", status=201)
    async with following(owner, f"{EVENTS}?after=0") as stream:
        await until(stream, "snapshot.ready")
    every = await owner.ok("GET", EVENTS)
    answer = await owner.call("GET", f"{EVENTS}?limit=2&type=vm,execution")
    assert [one["type"] for one in answer.json()] == ["execution.finished", "execution.running"]
    rest = await owner.call("GET", answer.links["next"]["url"])
    assert [one["type"] for one in rest.json()] == ["vm.running", "vm.creating"]
    assert await owner.ok("GET", f"{EVENTS}?vm=box") == every
    await owner.ok("DELETE", "/api/vms/box", status=204)
    assert len(await owner.ok("GET", f"{EVENTS}?vm={vm['id']}")) >= len(every)
    await owner.refused("GET", f"{EVENTS}?vm=box", status=404, code="vm_not_found")


async def test_what_is_wrong_is_said(owner: Caller, nobody: Caller) -> None:
    wrong = await owner.refused("GET", f"{EVENTS}?type=vm,vms", status=422, code="invalid_request")
    assert "'vms'" in wrong.detail and "vm.running" in wrong.detail
    for number in ("x", "-1", "1,2", "9" * 20, str(2**63)):
        answer = await owner.call("GET", f"{EVENTS}?follow=true", headers={"Last-Event-ID": number})
        assert problem(answer, 422, "invalid_request").errors
    answer = await owner.call("GET", f"{EVENTS}?follow=true", headers={"Last-Event-ID": str(2**62)})
    assert "Last-Event-ID" in problem(answer, 410, "events_gone").detail
    await nobody.refused("GET", EVENTS, status=401, code="unauthenticated")


async def test_a_stream_ends_with_its_key(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.api.events.HEARTBEAT_SECONDS", 0.05)
    made = await owner.ok("POST", "/api/keys", {"scopes": ["read"]}, status=201)
    reader = Caller(owner.client.__class__(transport=owner.client._transport, base_url="http://pool"))
    reader.client.headers["authorization"] = f"Bearer {made['key']}"
    async with following(reader, EVENTS) as stream:
        await owner.ok("DELETE", f"/api/keys/{made['id']}", status=204)
        last = [event async for event in stream.named()][-1]
    assert (last.name, json.loads(last.data)["code"]) == ("error", "unauthenticated")
    await reader.client.aclose()
