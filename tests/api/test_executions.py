"""Running code over HTTP: results, batches, history."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from .caller import Caller, problem

pytestmark = pytest.mark.anyio

SPECIFIED = {"id", "vm_id", "code", "output", "error", "exit_code", "execution_time", "executed_at"}
ADDED = {"timed_out", "oom_killed", "truncated", "cpu_time", "max_memory"}


async def test_execute_answers_the_result(owner: Caller) -> None:
    vm = await owner.create()
    result = await owner.execute(vm["id"], "print('Hello from VM!')")
    assert SPECIFIED | ADDED <= result.keys()
    assert (result["vm_id"], result["code"]) == (vm["id"], "print('Hello from VM!')")
    assert (result["output"], result["error"], result["exit_code"]) == ("Hello from VM!\n", "", 0)
    assert result["state"] == "finished"
    assert result["executed_at"].endswith("Z")
    assert not result["timed_out"]
    assert result["execution_time"] > 0


async def test_a_failing_program_is_a_result(owner: Caller) -> None:
    await owner.create()
    result = await owner.execute("box", "raise SystemExit(3)")
    assert result["exit_code"] == 3


async def test_a_timeout_is_a_result(owner: Caller) -> None:
    await owner.create()
    result = await owner.shell("box", "sleep 60", timeout=0.2)
    assert result["timed_out"]
    assert result["exit_code"] != 0


async def test_command_stdin_env(owner: Caller) -> None:
    await owner.create(env={"A": "vm", "B": "vm"})
    result = await owner.shell("box", "cat; echo $A $B", stdin="in ", env={"B": "here"})
    assert result["output"] == "in vm here\n"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "code"),
        ({"code": "1", "command": "ls"}, "code"),
        ({"code": ""}, "code"),
        ({"code": 5}, "code"),
        ({"code": "\ud800"}, "code"),
        ({"command": "a\0b"}, "command"),
        ({"code": "1", "language": "cobol"}, "language"),
        ({"code": "1", "timeout": 0}, "timeout"),
        ({"code": "1", "timeout": 601}, "timeout"),
        ({"code": "1", "timeout": "soon"}, "timeout"),
        ({"code": "1", "env": {"": "x"}}, "env"),
        ({"code": "1", "env": {"A B": "x"}}, "env"),
        ({"code": "1", "env": [1]}, "env"),
        ({"code": "1", "stdin": 1}, "stdin"),
        ({"code": "1", "cwd": ""}, "cwd"),
        ({"code": "1", "shell": True}, "shell"),
        ([], "body"),
        ("code", "body"),
    ],
)
async def test_a_bad_field_is_422_and_named(owner: Caller, body: object, field: str) -> None:
    await owner.create()
    answer = await owner.client.post(
        "/api/vms/box/execute", content=_json(body), headers={"Content-Type": "application/json"}
    )
    refusal = problem(answer, 422, "invalid_request")
    assert refusal.errors
    assert refusal.errors[0].field.split(".")[0] == field
    assert await owner.ok("GET", "/api/vms/box/executions") == []


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"code": NaN}', '{"code": "1", "timeout": Infinity}'])
async def test_malformed_json_is_422(owner: Caller, text: str) -> None:
    await owner.create()
    answer = await owner.client.post(
        "/api/vms/box/execute", content=text, headers={"Content-Type": "application/json"}
    )
    problem(answer, 422, "invalid_request")


async def test_bytes_that_are_not_text_are_refused(owner: Caller) -> None:
    await owner.create()
    answer = await owner.client.post(
        "/api/vms/box/execute", content=b'{"code": "\xff"}', headers={"Content-Type": "application/json"}
    )
    problem(answer, 400, "invalid_request")


async def test_the_33rd_at_once_is_429(owner: Caller) -> None:
    await owner.create()
    refused: list[int] = []

    async def one(tasks: anyio.abc.TaskGroup) -> None:
        answer = await owner.call("POST", "/api/vms/box/execute", {"command": "sleep 60", "timeout": 60})
        if answer.status_code == 429:
            problem(answer, 429, "too_many_executions")
            assert int(answer.headers["retry-after"]) >= 1
            refused.append(answer.status_code)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(33):
            tasks.start_soon(one, tasks)
    assert refused == [429]
    await owner.ok("POST", "/api/vms/box/stop")


async def test_batch_runs_in_all_running_vms(owner: Caller, other: Caller) -> None:
    ids = [(await owner.create(f"vm-{number}"))["id"] for number in range(3)]
    await owner.create("idle")
    await owner.ok("POST", "/api/vms/idle/stop")
    await other.create("foreign")
    results = await owner.ok("POST", "/api/vms/batch-execute", {"code": "print(6 * 7)"})
    assert [result["vm_id"] for result in results] == ids
    assert {result["output"] for result in results} == {"42\n"}


async def test_one_vms_failure_is_its_item(owner: Caller, other: Caller) -> None:
    first = await owner.create("first")
    await owner.create("idle")
    await owner.ok("POST", "/api/vms/idle/stop")
    foreign = await other.create("foreign")
    answer = await owner.call(
        "POST",
        "/api/vms/batch-execute",
        {"code": "print(1)", "vm_ids": ["idle", first["id"], foreign["id"], 2**63 - 1]},
    )
    assert answer.status_code == 200
    idle, ran, hidden, absent = answer.json()
    assert (idle["vm_id"], idle["error"]["code"], idle["error"]["status"]) == ("idle", "vm_not_running", 409)
    assert idle["error"]["request_id"] == answer.headers["x-request-id"]
    assert ran["output"] == "1\n"
    for item in (hidden, absent):
        assert item["error"]["code"] == "vm_not_found"


async def test_a_batch_of_nothing(owner: Caller) -> None:
    assert await owner.ok("POST", "/api/vms/batch-execute", {"code": "1"}) == []
    assert await owner.ok("POST", "/api/vms/batch-execute", {"code": "1", "vm_ids": []}) == []


async def test_history(owner: Caller) -> None:
    await owner.create()
    results = [await owner.execute("box", f"print({number})") for number in range(3)]
    listed = await owner.ok("GET", "/api/vms/box/executions")
    assert listed == list(reversed(results))
    assert await owner.ok("GET", f"/api/vms/box/executions/{results[1]['id']}") == results[1]
    await owner.refused("GET", "/api/vms/box/executions/999", status=404, code="execution_not_found")
    await owner.refused("GET", "/api/vms/box/executions/x", status=422, code="invalid_request")


async def test_a_running_execution_is_in_the_history(owner: Caller) -> None:
    await owner.create()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(owner.call, "POST", "/api/vms/box/execute", {"command": "sleep 60"})
        found: list[Any] = []
        while not found:
            await anyio.sleep(0.01)
            found = await owner.ok("GET", "/api/vms/box/executions")
        assert found[0]["state"] == "running"
        assert found[0]["output"] is None
        await owner.ok("POST", "/api/vms/box/stop")
    lost = (await owner.ok("GET", "/api/vms/box/executions"))[0]
    assert lost["state"] == "lost"
    assert "stopped" in lost["failure"]


def _json(value: object) -> str:
    import json

    return json.dumps(value)
