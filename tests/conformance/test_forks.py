"""Copies of a VM, through a whole pool on every backend."""

from __future__ import annotations

import anyio
import pytest

from tests.conformance.backends import World
from tests.conformance.pool import USER, Serve, make, run, start, written
from vmpool.domain import ExecutionRequest, Limits, VMState
from vmpool.errors import InvalidRequest, NameTaken, QuotaExceeded
from vmpool.pool.requests import VMRequest
from vmpool.pool.vm_pool_manager import VMPoolManager

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def said(pool: VMPoolManager, vm: int, command: str) -> str:
    result = await pool.execute(USER, vm, ExecutionRequest(command=command, timeout=30))
    assert result.outcome is not None and result.outcome.exit_code == 0, result
    return result.outcome.output


async def test_copies_have_its_files_and_go_their_own_way(serve: Serve, world: World) -> None:
    async with serve() as pool:
        asked = VMRequest("box", "python", limits=Limits(memory=256), env={"WHO": "me"}, labels={"a": "b"})
        vm = await pool.create_vm(USER, asked)
        await run(pool, "mkdir -p sub && echo one > sub/note")
        service = await start(pool, "echo ready; cat", stdin_open=True)
        await written(pool, service, "ready")
        made = await pool.fork(USER, "box", 3)
        assert [one.name for one in made] == ["box-1", "box-2", "box-3"]
        for one in made:
            assert (one.state, one.forked_from, one.id != vm.id) == (VMState.RUNNING, vm.id, True)
            assert (one.limits, one.env, one.labels) == (vm.limits, vm.env, vm.labels)
            assert await said(pool, one.id, "cat sub/note; echo $WHO; hostname") == f"one\nme\n{one.name}\n"
            assert (await pool.status(USER, one.id)).executions == 0
        assert (await pool.status(USER, "box")).executions == 1  # what ran goes on
        await said(pool, made[0].id, "echo two > sub/note")
        assert [await said(pool, one.id, "cat sub/note") for one in made[1:]] == ["one\n", "one\n"]
        assert await run(pool, "cat sub/note") == "one\n"
        assert await pool.list_snapshots(USER, "box") == []
        await pool.delete_vm(USER, "box")
        assert await said(pool, made[1].id, "cat sub/note") == "one\n"
        await pool.stop_vm(USER, made[1].id)
        await pool.start_vm(USER, made[1].id)
        again = await pool.fork(USER, made[1].id, 1, ["again"])
        assert await said(pool, again[0].id, "cat sub/note") == "one\n"
        for one in (*made, *again):
            await pool.delete_vm(USER, one.id)


async def test_all_or_none(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        await pool.create_vm(USER, VMRequest("taken", "python"))
        before = {vm.id for vm in await pool.list_vms(USER)}
        with pytest.raises(NameTaken):
            await pool.fork(USER, "box", 2, ["fresh", "taken"])
        with pytest.raises(QuotaExceeded):
            await pool.fork(USER, "box", 9)
        for number, names in ((0, None), (101, None), (2, ["a", "a"]), (1, ["a", "b"]), (1, ["Not a name"])):
            with pytest.raises(InvalidRequest):
                await pool.fork(USER, "box", number, names)
        assert {vm.id for vm in await pool.list_vms(USER)} == before
        assert await pool.list_snapshots(USER, "box") == []
        for vm in before:
            await pool.delete_vm(USER, vm)


async def test_a_stopped_vm_and_two_at_once(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        await run(pool, "echo kept > note")
        await pool.stop_vm(USER, "box")
        made = []

        async def fork(names: list[str]) -> None:
            made.extend(await pool.fork(USER, "box", len(names), names))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fork, ["a", "b"])
            tasks.start_soon(fork, ["c"])
        assert sorted(vm.name for vm in made) == ["a", "b", "c"]
        for vm in made:
            assert await said(pool, vm.id, "cat note") == "kept\n"
            await pool.delete_vm(USER, vm.id)
        await pool.delete_vm(USER, "box")
