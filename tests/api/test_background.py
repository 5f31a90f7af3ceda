"""Background executions and what can be done to one that runs, over HTTP."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from .caller import Caller, problem

pytestmark = pytest.mark.anyio


async def begin(caller: Caller, command: str = "sleep 60", **fields: object) -> Any:
    """An execution that runs."""
    body = {"command": command, "background": True, **fields}
    return await caller.ok("POST", "/api/vms/box/execute", body, status=202)


async def test_it_is_202_and_says_where_to_ask(owner: Caller) -> None:
    await owner.create()
    body = {"code": "print(6 * 7)", "background": True}
    answer = await owner.call("POST", "/api/vms/box/execute", body)
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert (begun["state"], begun["background"], begun["exit_code"]) == ("running", True, None)
    path = answer.headers["location"]
    assert path == f"/api/vms/{begun['vm_id']}/executions/{begun['id']}"
    ended = await owner.ok("GET", f"{path}/wait")
    assert (ended["state"], ended["output"], ended["background"]) == ("finished", "42\n", True)
    assert await owner.ok("GET", path) == ended
    assert await owner.ok("GET", "/api/vms/box/executions") == [ended]
    assert (await owner.execute("box"))["background"] is False


async def test_waiting_ends_with_its_time(owner: Caller) -> None:
    await owner.create()
    begun = await begin(owner)
    path = f"/api/vms/box/executions/{begun['id']}"
    assert await owner.ok("GET", f"{path}/wait?timeout=0.05") == begun
    await owner.refused("GET", f"{path}/wait?timeout=301", status=422, code="invalid_request")
    await owner.refused("GET", f"{path}/wait?timeout=nan", status=422, code="invalid_request")
    await owner.refused("GET", "/api/vms/box/executions/999/wait", status=404, code="execution_not_found")


async def test_the_same_key_begins_it_once(owner: Caller) -> None:
    await owner.create()
    body = {"command": "sleep 60", "background": True}
    first = await owner.ok("POST", "/api/vms/box/execute", body, status=202, key="k")
    assert await owner.ok("POST", "/api/vms/box/execute", body, status=202, key="k") == first
    assert len(await owner.ok("GET", "/api/vms/box/executions?state=running")) == 1


async def test_the_list_by_state(owner: Caller) -> None:
    await owner.create()
    done = await owner.execute("box")
    begun = await begin(owner)
    assert await owner.ok("GET", "/api/vms/box/executions?state=running") == [begun]
    assert await owner.ok("GET", "/api/vms/box/executions?state=finished") == [done]
    assert await owner.ok("GET", "/api/vms/box/executions?state=lost") == []
    await owner.refused("GET", "/api/vms/box/executions?state=x", status=422, code="invalid_request")


async def test_cancelling(owner: Caller) -> None:
    await owner.create()
    begun = await begin(owner)
    path = f"/api/vms/box/executions/{begun['id']}/cancel"
    ended = await owner.ok("POST", path)
    assert (ended["state"], ended["exit_code"], ended["failure"]) == ("finished", 143, "it was cancelled")
    assert await owner.ok("POST", path, {"grace": 0}) == ended
    await owner.refused("POST", path, {"grace": -1}, status=422, code="invalid_request")
    killed = await begin(owner)
    ended = await owner.ok("POST", f"/api/vms/box/executions/{killed['id']}/cancel", {"grace": 0})
    assert ended["exit_code"] == 137


@pytest.mark.parametrize("named", ["SIGINT", "INT", 2])
async def test_signals_by_name_and_number(owner: Caller, named: str | int) -> None:
    await owner.create()
    begun = await begin(owner)
    path = f"/api/vms/box/executions/{begun['id']}"
    await owner.ok("POST", f"{path}/signal", {"signal": named}, status=204)
    assert (await owner.ok("GET", f"{path}/wait"))["exit_code"] == 130
    await owner.refused("POST", f"{path}/signal", {"signal": named}, status=409, code="execution_ended")


@pytest.mark.parametrize("wrong", [0, 65, "NONE", "SIG", "", None, True, "SIGINT\n"])
async def test_what_is_no_signal(owner: Caller, wrong: object) -> None:
    await owner.create()
    begun = await begin(owner)
    path = f"/api/vms/box/executions/{begun['id']}/signal"
    await owner.refused("POST", path, {"signal": wrong}, status=422, code="invalid_request")


async def test_standard_input(owner: Caller) -> None:
    await owner.create()
    begun = await begin(owner, "cat", stdin_open=True)
    path = f"/api/vms/box/executions/{begun['id']}"
    assert await owner.ok("POST", f"{path}/stdin", {"text": "é"}) == {"offset": 2, "closed": False}
    raw = base64.b64encode(b"\xff\x00").decode()
    assert await owner.ok("POST", f"{path}/stdin", {"base64": raw, "offset": 2, "close": True}) == {
        "offset": 4,
        "closed": True,
    }
    ended = await owner.ok("GET", f"{path}/wait")
    output = await owner.call("GET", f"{path}/output")
    assert output.content == "é".encode() + b"\xff\x00"
    assert ended["output_bytes"] == 4
    await owner.refused("POST", f"{path}/stdin", {"text": "x"}, status=409, code="execution_ended")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"text": "a", "base64": "YQ=="}, "text"),
        ({"base64": "!"}, "base64"),
        ({"text": "\ud800"}, "text"),
        ({"text": "x", "offset": 1}, "offset"),
        ({"text": 1}, "text"),
    ],
)
async def test_wrong_standard_input(owner: Caller, body: object, field: str) -> None:
    await owner.create()
    begun = await begin(owner, "cat", stdin_open=True)
    path = f"/api/vms/box/executions/{begun['id']}/stdin"
    answer = await owner.client.post(path, content=_json(body), headers={"Content-Type": "application/json"})
    refusal = problem(answer, 422, "invalid_request")
    assert refusal.errors and refusal.errors[0].field.split(".")[0] == field


async def test_standard_input_of_one_that_has_none_to_write(owner: Caller) -> None:
    await owner.create()
    begun = await begin(owner)
    path = f"/api/vms/box/executions/{begun['id']}/stdin"
    await owner.refused("POST", path, {"text": "x"}, status=409, code="execution_ended")
    body = {"command": "cat", "stdin": "x", "stdin_open": True}
    await owner.refused("POST", "/api/vms/box/execute", body, status=422, code="invalid_request")


async def test_the_bound_in_flight_counts_them(owner: Caller) -> None:
    await owner.create()
    for _ in range(32):
        await begin(owner)
    body = {"command": "true", "background": True}
    await owner.refused("POST", "/api/vms/box/execute", body, status=429, code="too_many_executions")


def _json(body: object) -> bytes:
    import json

    return json.dumps(body).encode()


async def test_terminals(owner: Caller) -> None:
    await owner.create()
    begun = await begin(owner, "cat", terminal={"columns": 132, "rows": 43})
    path = f"/api/vms/box/executions/{begun['id']}"
    assert begun["terminal"]
    await owner.ok("POST", f"{path}/resize", {"columns": 80, "rows": 24}, status=204)
    for size in ({"columns": 0}, {"rows": 1001}, {"width": 3}, {"columns": 80.5}):
        await owner.refused("POST", f"{path}/resize", size, status=422, code="invalid_request")
    await owner.ok("POST", f"{path}/cancel", {"grace": 0})
    await owner.refused("POST", f"{path}/resize", {}, status=409, code="execution_ended")
    piped = await begin(owner, "cat", stdin_open=True)
    where = f"/api/vms/box/executions/{piped['id']}/resize"
    await owner.refused("POST", where, {}, status=409, code="execution_ended")
    ended = await owner.ok("POST", "/api/vms/box/execute", {"command": "echo hi", "terminal": {}})
    assert (ended["output"], ended["terminal"], ended["background"]) == ("hi\r\n", True, False)


@pytest.mark.parametrize(
    "fields",
    [
        {"terminal": {}, "stdin": "x", "background": True},
        {"terminal": {"columns": 65536}},
        {"terminal": True},
        {"linger": 5},
        {"linger": 0, "background": True},
        {"linger": -1, "background": True},
    ],
)
async def test_terminals_that_cannot_be(owner: Caller, fields: dict[str, object]) -> None:
    await owner.create()
    body = {"command": "true", **fields}
    await owner.refused("POST", "/api/vms/box/execute", body, status=422, code="invalid_request")
