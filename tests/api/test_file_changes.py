"""The stream of a VM's file changes, on the fake backend."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from vmpool.client.sse import Event

from .caller import Caller
from .events import EventStream, following

pytestmark = pytest.mark.anyio
WATCH = "/api/vms/box/files/watch"


@pytest.fixture
async def box(owner: Caller) -> Caller:
    await owner.create()
    return owner


async def put(caller: Caller, path: str, data: bytes = b"x") -> None:
    answer = await caller.client.put(f"/api/vms/box/files?path={path}&parents=true", content=data)
    assert answer.status_code == 200, answer.text


async def until(stream: EventStream, kind: str, path: str) -> dict[str, Any]:
    async for event in stream.named():
        if event.name == "change":
            change: dict[str, Any] = json.loads(event.data)
            if (change["kind"], change["path"]) == (kind, path):
                return change
    raise AssertionError("the stream ended")


async def first(events: AsyncIterator[Event]) -> Event:
    return await anext(events)


async def test_changes_are_told(box: Caller) -> None:
    await put(box, "work/there")
    async with following(box, f"{WATCH}?path=work") as stream:
        begun = await first(stream.named())
        assert (begun.name, json.loads(begun.data)) == ("watching", {"directories": 1})
        await put(box, "work/new")
        created = await until(stream, "created", "new")
        assert created == {"kind": "created", "path": "new", "encoded_path": "new", "directory": False}
        await box.ok("POST", "/api/vms/box/files/move?path=work/new&to=work/old")
        moved = await until(stream, "moved", "old")
        assert moved["moved_from"] == moved["encoded_moved_from"] == "new"


async def test_names_are_exact(box: Caller) -> None:
    async with following(box, WATCH) as stream:
        await put(box, "%FF%0A%25")
        async for event in stream.named():
            if event.name == "change":
                assert json.loads(event.data)["encoded_path"] == "%FF%0A%25"
                break


async def test_a_file_is_watched_through_its_replacement(box: Caller) -> None:
    await put(box, "work/file")
    async with following(box, f"{WATCH}?path=work/file") as stream:
        assert (await first(stream.named())).name == "watching"
        await put(box, "work/other")
        await put(box, "work/file.new")
        await box.ok("POST", "/api/vms/box/files/move?path=work/file.new&to=work/file&replace=true")
        await put(box, "work/file", b"more")
        seen = []
        async for event in stream.named():
            seen.append(json.loads(event.data))
            if seen[-1]["kind"] == "changed":
                break
        assert {change["path"] for change in seen} == {""}  # itself
        assert [change["kind"] for change in seen] == ["removed", "created", "changed"]


async def test_the_end_of_the_directory_is_the_end(box: Caller) -> None:
    await put(box, "work/there")
    async with following(box, f"{WATCH}?path=work") as stream:
        await box.ok("DELETE", "/api/vms/box/files?path=work&recursive=true", status=204)
        names = [event.name async for event in stream.named()]
    assert names[0] == "watching" and names[-2:] == ["change", "end"]


async def test_the_end_of_the_vm_is_an_error(box: Caller) -> None:
    async with following(box, WATCH) as stream:
        assert (await first(stream.named())).name == "watching"
        await box.ok("POST", "/api/vms/box/stop")
        last = [event async for event in stream.named()][-1]
    assert last.name == "error" and json.loads(last.data)["code"]


async def test_what_cannot_be_watched(box: Caller) -> None:
    await box.refused("GET", f"{WATCH}?path=nowhere", status=404, code="path_not_found")
    await box.refused("GET", "/api/vms/none/files/watch", status=404, code="vm_not_found")
