"""Builds of templates over HTTP."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from .caller import Caller
from .events import following

pytestmark = pytest.mark.anyio
TEMPLATES, BUILDS = "/api/templates", "/api/template-builds"


async def begin(caller: Caller, *steps: Any, name: str = "made", **more: object) -> Any:
    body = {"name": name, "from": "bash", "steps": list(steps), **more}
    return await caller.ok("POST", TEMPLATES, body, status=202)


async def ended(caller: Caller, build: Any) -> Any:
    with anyio.fail_after(30):
        while True:
            found = await caller.ok("GET", f"{BUILDS}/{build['id']}")
            if found["state"] != "building":
                return found
            await anyio.sleep(0.01)


async def test_a_build_its_log_and_its_template(owner: Caller) -> None:
    build = await begin(owner, {"files": {"a": "text\n", "b": {"base64": "AAEC"}}}, {"run": "cat a"})
    assert (build["state"], build["steps"]) == ("building", ["files a b", "run cat a"])
    async with following(owner, f"{BUILDS}/{build['id']}/log") as stream:
        events = [event async for event in stream.named()]
    assert events[-1].name == "end"
    last = json.loads(events[-1].data)
    assert (last["state"], last["done"], last["failure"]) == ("ready", 2, None)
    text = "".join(json.loads(event.data)["text"] for event in events[:-1])
    assert "text\n" in text
    await owner.ok("POST", "/api/vms/create", {"name": "fresh", "template": "made"}, status=201)
    assert (await owner.call("GET", "/api/vms/fresh/files?path=b")).content == b"\x00\x01\x02"
    whole = await owner.call("GET", f"{BUILDS}/{build['id']}/log")
    assert whole.text == text and whole.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await owner.call("GET", f"{BUILDS}/{build['id']}/log?offset=5")).text == text[5:]
    assert (await owner.ok("GET", TEMPLATES))[0]["id"] == last["template_id"]
    assert [one["id"] for one in await owner.ok("GET", BUILDS)] == [build["id"]]
    kinds = [event["type"] for event in await owner.ok("GET", "/api/events?type=template")]
    assert kinds[:2] == ["template.ready", "template.building"]
    await owner.refused("POST", f"{BUILDS}/{build['id']}/cancel", status=409, code="build_ended")


async def test_a_stream_goes_on_where_it_was_cut(owner: Caller) -> None:
    build = await begin(owner, {"run": "echo one; echo two"})
    await ended(owner, build)
    whole = (await owner.call("GET", f"{BUILDS}/{build['id']}/log")).text
    async with following(owner, f"{BUILDS}/{build['id']}/log", last_event_id="10") as stream:
        events = [event async for event in stream.named()]
    assert "".join(json.loads(event.data).get("text", "") for event in events) == whole[10:]
    answer = await owner.call(
        "GET",
        f"{BUILDS}/{build['id']}/log",
        headers={"Accept": "text/event-stream", "Last-Event-ID": "x"},
    )
    assert answer.status_code == 422


async def test_a_failure_names_the_step(owner: Caller) -> None:
    build = await ended(owner, await begin(owner, {"run": "echo no >&2; false"}))
    assert build["state"] == "failed" and build["template_id"] is None
    assert build["failure"] == "step 1 of 1 (run echo no >&2; false) ended with exit code 1:\nno"
    assert await owner.ok("GET", "/api/vms") == []


@pytest.mark.parametrize(
    "body",
    [
        {"name": "made", "steps": [{"run": "true"}]},
        {"name": "made", "from": "bash", "steps": []},
        {"name": "made", "from": "bash", "steps": [{}]},
        {"name": "made", "from": "bash", "steps": [{"run": "a", "packages": ["b"]}]},
        {"name": "made", "from": "bash", "steps": [{"files": {"a": {"base64": "*"}}}]},
        {"name": "made", "from": "bash", "steps": [{"files": {"a/": "x"}}]},
        {"name": "made", "from": "bash", "steps": [{"run": "true", "timeout": 0}]},
        {"name": "made", "from": "bash", "vm_id": "box"},
        {"name": "made", "from": "bash", "vm_id": "box", "steps": [{"run": "true"}]},
        {"name": "made", "from": "bash", "steps": [{"run": "true"}], "memory_limit": 1},
    ],
    ids=str,
)
async def test_what_is_wrong_is_422(owner: Caller, body: object) -> None:
    await owner.refused("POST", TEMPLATES, body, status=422, code="invalid_request")
    assert await owner.ok("GET", BUILDS) == []


async def test_the_same_key_builds_once(owner: Caller) -> None:
    body = {"name": "made", "from": "bash", "steps": [{"run": "true"}]}
    first = await owner.ok("POST", TEMPLATES, body, status=202, key="k")
    assert (await owner.ok("POST", TEMPLATES, body, status=202, key="k"))["id"] == first["id"]
    await ended(owner, first)
