"""Contexts over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .caller import Caller

pytestmark = pytest.mark.anyio

BASE = "/api/vms/box/contexts"


async def make(caller: Caller, **fields: object) -> Any:
    return await caller.ok("POST", BASE, fields, status=201)


async def test_from_beginning_to_end(owner: Caller) -> None:
    vm = await owner.create()
    made = await make(owner)
    assert made == {
        "id": made["id"],
        "vm_id": vm["id"],
        "language": "python",
        "state": "idle",
        "cells": 0,
        "waiting": 0,
        "cwd": None,
        "failure": None,
        "created_at": made["created_at"],
    }
    path = f"{BASE}/{made['id']}"
    await owner.ok("POST", f"{path}/execute", {"code": "x = 41"})
    result = await owner.ok("POST", f"{path}/execute", {"code": "print('hi')\nx + 1"})
    assert (result["number"], result["state"], result["truncated"]) == (2, "ok", False)
    assert [(one["type"], one["text"], one["data"]) for one in result["outputs"]] == [
        ("stdout", "hi\n", None),
        ("result", None, {"text/plain": "42"}),
    ]
    failed = await owner.ok("POST", f"{path}/execute", {"code": "y"})
    assert failed["state"] == "error" and failed["outputs"][0]["name"] == "NameError"
    assert (await owner.ok("GET", path))["cells"] == 3
    assert [one["id"] for one in await owner.ok("GET", BASE)] == [made["id"]]
    assert (await owner.ok("POST", f"{path}/interrupt"))["state"] == "idle"
    assert (await owner.ok("POST", f"{path}/restart"))["cells"] == 0
    assert (await owner.ok("POST", f"{path}/execute", {"code": "x"}))["state"] == "error"
    assert (await owner.call("DELETE", path)).status_code == 204
    await owner.refused("DELETE", path, status=404, code="context_not_found")
    assert await owner.ok("GET", BASE) == []


async def test_as_events(owner: Caller) -> None:
    await owner.create()
    path = f"{BASE}/{(await make(owner))['id']}/execute"
    answer = await owner.call(
        "POST", path, {"code": "print(1)\nprint(2)\n3"}, headers={"Accept": "text/event-stream"}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [
        (lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: ")))
        for block in answer.text.split("\n\n")
        if (lines := block.split("\n"))[0].startswith("event: ")
    ]
    assert events[:-1] == [
        ("output", {"type": "stdout", "text": "1\n"}),
        ("output", {"type": "stdout", "text": "2\n"}),
        ("output", {"type": "result", "data": {"text/plain": "3"}}),
    ]
    name, end = events[-1]
    assert name == "end" and (end["state"], end["outputs"], end["number"]) == ("ok", [], 1)


async def test_what_is_refused(owner: Caller, other: Caller) -> None:
    await owner.create()
    made = await make(owner)
    path = f"{BASE}/{made['id']}"
    for body in ({"language": "rust"}, {"language": "x"}, {"cwd": ""}, {"env": {"": "1"}}, {"more": 1}):
        await owner.refused("POST", BASE, body, status=422, code="invalid_request")
    for cell in (
        {},
        {"code": ""},
        {"code": "1", "timeout": 0},
        {"code": "1", "timeout": 1e9},
        {"code": "a\0"},
    ):
        await owner.refused("POST", f"{path}/execute", cell, status=422, code="invalid_request")
    await owner.refused("GET", f"{BASE}/999", status=404, code="context_not_found")
    await owner.refused("POST", f"{BASE}/999/execute", {"code": "1"}, status=404, code="context_not_found")
    vm = made["vm_id"]
    await other.refused("GET", f"/api/vms/{vm}/contexts/{made['id']}", status=404, code="vm_not_found")
    died = await owner.ok("POST", f"{path}/execute", {"code": "import sys\nsys.exit(1)"})
    assert died["state"] == "died"
    await owner.refused("POST", f"{path}/execute", {"code": "1"}, status=409, code="context_dead")
    dead = await owner.ok("GET", path)
    assert dead["state"] == "dead" and "exit code 1" in dead["failure"]
    await owner.ok("POST", "/api/vms/box/stop")
    await owner.refused("POST", BASE, {}, status=409, code="vm_not_running")
    await owner.refused("POST", f"{path}/restart", status=409, code="vm_not_running")


async def test_the_same_key_makes_one(owner: Caller) -> None:
    await owner.create()
    first = await owner.ok("POST", BASE, {}, status=201, key="k")
    assert await owner.ok("POST", BASE, {}, status=201, key="k") == first
    assert len(await owner.ok("GET", BASE)) == 1
