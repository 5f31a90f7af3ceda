"""Idempotency-Key on create, execute and snapshot: done once, answered as often as asked."""

from __future__ import annotations

import anyio
import httpx
import pytest

from vmpool.api.idempotency import REPLAYED, KeptKeys, settle_interrupted
from vmpool.api.services import Services

from .caller import Caller, problem

pytestmark = pytest.mark.anyio

VM = {"name": "box", "language": "python"}


async def test_create_once(owner: Caller) -> None:
    first = await owner.call("POST", "/api/vms/create", VM, key="k")
    again = await owner.call("POST", "/api/vms/create", VM, key="k")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert (first.headers.get(REPLAYED), again.headers[REPLAYED]) == (None, "true")
    assert len(await owner.ok("GET", "/api/vms")) == 1


async def test_execute_once(owner: Caller) -> None:
    await owner.create()
    body = {"command": "echo x >> log; cat log"}
    first = await owner.ok("POST", "/api/vms/box/execute", body, key="k")
    assert await owner.ok("POST", "/api/vms/box/execute", body, key="k") == first
    assert first["output"] == "x\n"
    assert len(await owner.ok("GET", "/api/vms/box/executions")) == 1


async def test_snapshot_once(owner: Caller) -> None:
    await owner.create()
    first = await owner.ok("POST", "/api/vms/box/snapshot", status=201, key="k")
    assert await owner.ok("POST", "/api/vms/box/snapshot", status=201, key="k") == first
    assert len(await owner.ok("GET", "/api/vms/box/snapshots")) == 1


async def test_equal_requests_at_once_share_one_result(owner: Caller) -> None:
    await owner.create()
    answers: list[httpx.Response] = []

    async def one() -> None:
        body = {"command": "sleep 0.1; echo x >> log; cat log"}
        answers.append(await owner.call("POST", "/api/vms/box/execute", body, key="k"))

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(one)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(await owner.ok("GET", "/api/vms/box/executions")) == 1


async def test_how_the_json_is_written_does_not_matter(owner: Caller) -> None:
    first = await owner.call("POST", "/api/vms/create", VM, key="k")
    text = '{ "language":"python",\n"name":"\\u0062ox" }'
    again = await owner.client.post(
        "/api/vms/create", content=text, headers={"Idempotency-Key": "k", "Content-Type": "application/json"}
    )
    assert again.content == first.content


async def test_another_body_or_route_is_422(owner: Caller) -> None:
    await owner.ok("POST", "/api/vms/create", VM, status=201, key="k")
    for path, body in (
        ("/api/vms/create", {**VM, "name": "other"}),
        ("/api/vms/box/execute", {"code": "1"}),
    ):
        await owner.refused("POST", path, body, status=422, code="idempotency_mismatch", key="k")


async def test_keys_of_two_users_do_not_meet(owner: Caller, other: Caller) -> None:
    mine = await owner.ok("POST", "/api/vms/create", VM, status=201, key="k")
    theirs = await other.ok("POST", "/api/vms/create", VM, status=201, key="k")
    assert mine["id"] != theirs["id"]


async def test_a_refusal_frees_the_key(owner: Caller) -> None:
    await owner.refused(
        "POST", "/api/vms/box/execute", {"code": "1"}, status=404, code="vm_not_found", key="k"
    )
    await owner.create()
    await owner.ok("POST", "/api/vms/box/execute", {"code": "1"}, key="k")


async def test_what_a_dead_server_left_is_never_run_again(
    owner: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that is killed in the middle of a request leaves a claim without an answer."""
    await owner.create()
    monkeypatch.setattr("vmpool.api.idempotency._fingerprint", lambda body: "the same")
    mine = (await owner.ok("GET", "/api/vms/box"))["user_id"]
    claims = services.store.idempotency
    await claims.claim(mine, "cut", "POST /api/vms/box/execute", "the same")
    for _ in range(2):
        answer = await owner.call("POST", "/api/vms/box/execute", {"code": "1"}, key="cut")
        assert problem(answer, 502, "interrupted").dispatch == "outcome_unknown"
    await settle_interrupted(claims)
    answer = await owner.call("POST", "/api/vms/box/execute", {"code": "1"}, key="cut")
    assert (answer.status_code, answer.json()["code"]) == (502, "interrupted")
    assert answer.headers[REPLAYED] == "true"
    assert await owner.ok("GET", "/api/vms/box/executions") == []


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_bad_key_is_422(owner: Caller, key: str) -> None:
    answer = await owner.call("POST", "/api/vms/create", VM, headers={"Idempotency-Key": key})
    found = problem(answer, 422, "invalid_request")
    assert found.errors
    assert found.errors[0].field == "Idempotency-Key"


async def test_one_users_keys_are_bounded_and_push_out_nobody_elses(
    owner: Caller, other: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.once, "_kept", KeptKeys(count=8, size=1 << 20))
    for caller in (owner, other):
        await caller.create()
    say = {"command": "echo x >> log; cat log"}

    async def run(caller: Caller, key: str) -> int:
        """How often it had been done by then."""
        done = await caller.ok("POST", "/api/vms/box/execute", say, key=key)
        return str(done["output"]).count("x")

    assert await run(other, "k0") == 1
    for number in range(20):
        assert await run(owner, f"k{number}") == number + 1
    assert await run(owner, "k19") == 20  # kept
    assert await run(other, "k0") == 1
    with anyio.fail_after(5):
        while await run(owner, "k0") != 21:  # noqa: ASYNC110 - forgotten behind the answers: done anew
            await anyio.sleep(0.01)
