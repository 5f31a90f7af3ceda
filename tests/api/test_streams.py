"""An execution's output as events, over HTTP."""

from __future__ import annotations

import base64
import json
from typing import Any

import anyio
import pytest

from vmpool.api.services import Services
from vmpool.client.sse import Event

from .caller import Caller, problem
from .events import EventStream, following

pytestmark = pytest.mark.anyio
BOX = "/api/vms/box"


async def begin(caller: Caller, command: str, **fields: object) -> Any:
    body = {"command": command, "background": True, **fields}
    return await caller.ok("POST", f"{BOX}/execute", body, status=202)


async def rest(stream: EventStream) -> list[Event]:
    """Every event to the end."""
    return [event async for event in stream.named()]


def written(events: list[Event], stream: str) -> bytes:
    data = [json.loads(event.data) for event in events if event.name == stream]
    return b"".join(
        base64.b64decode(one["base64"]) if "base64" in one else one["text"].encode() for one in data
    )


async def test_output_comes_as_it_is_written(owner: Caller) -> None:
    await owner.create()
    begun = await begin(owner, "echo one; echo bad >&2; cat; exit 3", stdin_open=True)
    path = f"{BOX}/executions/{begun['id']}"
    async with following(owner, f"{path}/stream") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        events = stream.named()
        first = await anext(events)
        assert (first.name, json.loads(first.data)) == ("stdout", {"offset": 0, "text": "one\n"})
        assert first.id in ("4,0", "4,4")
        await owner.ok("POST", f"{path}/stdin", {"text": "two\n", "close": True})
        later = [event async for event in events]
    assert written([first, *later], "stdout") == b"one\ntwo\n"
    assert written([first, *later], "stderr") == b"bad\n"
    assert (later[-1].name, later[-1].id) == ("exit", "8,4")
    ended = await owner.ok("GET", path)
    assert json.loads(later[-1].data) == ended
    assert ended["exit_code"] == 3


async def test_going_on_after_an_event(owner: Caller) -> None:
    await owner.create()
    ran = await owner.shell("box", "echo 0123456789; echo abc >&2")
    url = f"{BOX}/executions/{ran['id']}/stream"
    async with following(owner, url, last_event_id="4,1") as stream:
        events = await rest(stream)
    assert (written(events, "stdout"), written(events, "stderr")) == (b"456789\n", b"bc\n")
    async with following(owner, f"{url}?stdout_offset=9&stderr_offset=4") as stream:
        events = await rest(stream)
    assert (written(events, "stdout"), written(events, "stderr")) == (b"9\n", b"")
    assert json.loads(events[0].data)["offset"] == 9
    async with following(owner, f"{url}?tail=2") as stream:
        assert written(await rest(stream), "stdout") == b"9\n"
    async with following(owner, f"{url}?tail=2", last_event_id="0,0") as stream:
        assert written(await rest(stream), "stdout") == b"0123456789\n"
    for wrong in ("x", "1", "1,2,3", "-1,0", "99999999999999999999,0", f"{2**63},0"):
        answer = await owner.call("GET", url, headers={"Last-Event-ID": wrong})
        assert problem(answer, 422, "invalid_request").errors
    await owner.refused("GET", f"{url}?tail=-1", status=422, code="invalid_request")


async def test_one_that_has_ended_when_its_events_begin(
    owner: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = services.pool.start_execution

    async def slowly(*asked: Any) -> Any:
        execution = await start(*asked)
        return await services.pool.controls.result(execution.vm_id, execution.id) or execution

    monkeypatch.setattr(services.pool, "start_execution", slowly)
    await owner.create()
    async with following(owner, f"{BOX}/execute", {"command": "echo hi; exit 4"}) as stream:
        events = await rest(stream)
    assert [event.name for event in events] == ["start", "stdout", "exit"]
    begun, ended = json.loads(events[0].data), json.loads(events[-1].data)
    assert (begun["state"], begun["exit_code"], begun["output"]) == ("running", None, None)
    assert (ended["state"], ended["exit_code"], ended["output"]) == ("finished", 4, "hi\n")


async def test_bytes_that_are_no_text(owner: Caller) -> None:
    await owner.create()
    ran = await owner.execute("box", "import sys\nsys.stdout.buffer.write(b'\\xff\\x00\\xc3')")
    async with following(owner, f"{BOX}/executions/{ran['id']}/stream") as stream:
        events = await rest(stream)
    assert json.loads(events[0].data) == {
        "offset": 0,
        "base64": base64.b64encode(b"\xff\x00\xc3").decode(),
    }


async def test_executing_as_events(owner: Caller) -> None:
    await owner.create()
    async with following(owner, f"{BOX}/execute", {"command": "echo hi; exit 4"}) as stream:
        events = await rest(stream)
    assert [event.name for event in events] == ["start", "stdout", "exit"]
    begun, ended = json.loads(events[0].data), json.loads(events[-1].data)
    assert (begun["state"], begun["background"]) == ("running", False)
    assert (ended["id"], ended["exit_code"], ended["output"]) == (begun["id"], 4, "hi\n")
    assert await owner.ok("GET", f"{BOX}/executions") == [ended]


async def test_what_is_refused_is_no_stream(owner: Caller) -> None:
    await owner.create()
    accept = {"Accept": "text/event-stream"}
    for body, status, code in (
        ({"command": "true", "cwd": "/nowhere"}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
        ({"command": "true", "timeout": 601}, 422, "invalid_request"),
    ):
        problem(await owner.call("POST", f"{BOX}/execute", body, headers=accept), status, code)
    answer = await owner.call("POST", f"{BOX}/execute", {"command": "true"}, headers=accept, key="k")
    problem(answer, 422, "invalid_request")
    answer = await owner.call("POST", "/api/vms/none/execute", {"command": "true"}, headers=accept)
    problem(answer, 404, "vm_not_found")
    assert len(await owner.ok("GET", f"{BOX}/executions")) == 1  # the directory: it was begun


async def test_leaving_leaves_it_running_or_not(owner: Caller) -> None:
    await owner.create()
    for cancel in (False, True):
        body = {"command": "echo one; sleep 60", "cancel_on_disconnect": cancel}
        async with following(owner, f"{BOX}/execute", body) as stream:
            events = stream.named()
            begun = json.loads((await anext(events)).data)
            assert (await anext(events)).name == "stdout"
        path = f"{BOX}/executions/{begun['id']}"
        ended = await owner.ok("GET", f"{path}/wait?timeout={10 if cancel else 0.1}")
        assert ended["state"] == ("finished" if cancel else "running")
        assert ended["failure"] == ("it was cancelled" if cancel else None)


async def test_going_away_without_events(owner: Caller) -> None:
    """The same of a plain request; one that stays gets its answer."""
    await owner.create()
    done = await owner.shell("box", "echo hi", cancel_on_disconnect=True)
    assert (done["output"], done["failure"]) == ("hi\n", None)
    body = {"command": "sleep 60", "cancel_on_disconnect": True, "background": True}
    await owner.refused("POST", f"{BOX}/execute", body, status=422, code="invalid_request")


async def test_a_key_that_is_revoked_reads_no_further(
    owner: Caller, services: Services, monkeypatch: pytest.MonkeyPatch, caller_with: Any
) -> None:
    monkeypatch.setattr("vmpool.api.events.HEARTBEAT_SECONDS", 0.05)
    await owner.create()
    made = await owner.ok("POST", "/api/keys", {"name": "reader"}, status=201)
    begun = await begin(owner, "echo one; sleep 60")
    async with following(caller_with(made["key"]), f"{BOX}/executions/{begun['id']}/stream") as stream:
        events = stream.named()
        assert (await anext(events)).name == "stdout"
        await owner.ok("DELETE", f"/api/keys/{made['id']}", status=204)
        last = await anext(events)
    assert (last.name, json.loads(last.data)["code"]) == ("error", "unauthenticated")


async def test_a_server_that_ends_cuts_the_stream_without_an_end(owner: Caller, services: Services) -> None:
    await owner.create()
    begun = await begin(owner, "echo one; sleep 60")
    async with following(owner, f"{BOX}/executions/{begun['id']}/stream") as stream:
        events = stream.named()
        assert (await anext(events)).name == "stdout"
        services.closing.set()
        with anyio.fail_after(5):
            assert [event async for event in events] == []
