"""What programs wrote: as an array, and followed as it comes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from vmpool.api.services import Services

from .caller import Caller
from .events import following

pytestmark = pytest.mark.anyio
With = Callable[[str | None], Caller]


async def test_oldest_first(owner: Caller) -> None:
    await owner.create()
    first = await owner.shell("box", "echo one")
    second = await owner.shell("box", "echo two; echo bad >&2")
    logs = await owner.ok("GET", "/api/vms/box/logs")
    assert [(entry["execution_id"], entry["stream"], entry["text"]) for entry in logs] == [
        (first["id"], "stdout", "one\n"),
        (second["id"], "stdout", "two\n"),
        (second["id"], "stderr", "bad\n"),
    ]
    assert all(entry["time"].endswith("Z") for entry in logs)


async def test_tail(owner: Caller) -> None:
    await owner.create()
    for word in ("one", "two", "three"):
        await owner.shell("box", f"echo {word}")
    logs = await owner.ok("GET", "/api/vms/box/logs?tail=2")
    assert [entry["text"] for entry in logs] == ["two\n", "three\n"]
    assert await owner.ok("GET", "/api/vms/box/logs?tail=0") == []
    await owner.refused("GET", "/api/vms/box/logs?tail=-1", status=422, code="invalid_request")


async def test_follow_sends_history_and_what_comes(owner: Caller, services: Services) -> None:
    await owner.create()
    await owner.shell("box", "echo before")
    texts: list[str] = []
    async with following(owner, "/api/vms/box/logs?follow=true&tail=1") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for event in stream.events():
            entry: dict[str, Any] = json.loads(event)
            texts.append(entry["text"])
            if len(texts) == 1:
                await owner.shell("box", "echo after")
            else:
                break
    assert texts == ["before\n", "after\n"]
    # The reader has left: nobody follows any more.
    await anyio.wait_all_tasks_blocked()
    assert not services.pool._context.feed._followers


async def test_follow_ends_when_the_vm_is_deleted(owner: Caller) -> None:
    await owner.create()
    async with following(owner, "/api/vms/box/logs?follow=true") as stream:
        await owner.ok("DELETE", "/api/vms/box", status=204)
        assert [event async for event in stream.events()] == []


async def test_follow_ends_when_the_server_does(owner: Caller, services: Services) -> None:
    await owner.create()
    async with following(owner, "/api/vms/box/logs?follow=true") as stream:
        services.closing.set()
        assert [event async for event in stream.events()] == []


async def test_follow_of_an_unknown_vm_is_404(owner: Caller) -> None:
    await owner.refused("GET", "/api/vms/none/logs?follow=true", status=404, code="vm_not_found")


@pytest.mark.parametrize("how", ["revoked", "disabled", "expired"])
async def test_follow_ends_with_the_readers_key(
    how: str, owner: Caller, caller_with: With, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vmpool.api.events.HEARTBEAT_SECONDS", 0.02)
    made = await owner.ok("POST", "/api/users", {"name": "ada"}, status=201)
    ada = caller_with(made["key"]["key"])
    await ada.create("box")
    async with following(ada, "/api/vms/box/logs?follow=true") as stream:
        assert await stream.chunk() == b": still here\n\n"
        if how == "disabled":
            await owner.ok("PATCH", f"/api/users/{made['id']}", {"disabled": True})
        elif how == "revoked":
            await owner.ok("DELETE", f"/api/users/{made['id']}/keys/{made['key']['id']}", status=204)
        else:
            await ada.ok("POST", f"/api/keys/{made['key']['id']}/rotate", {"overlap": 0}, status=201)
        (last,) = [event async for event in stream.named()]
    assert last.name == "error"
    assert json.loads(last.data)["code"] == ("user_disabled" if how == "disabled" else "unauthenticated")
