"""Executions that nobody waits for, and what can be done to one that runs."""

from __future__ import annotations

import math
import signal
from dataclasses import replace

import anyio
import pytest

from vmpool.backends.base import MachineKey
from vmpool.domain import Execution, ExecutionState
from vmpool.errors import (
    AgentUnreachable,
    ExecutionEnded,
    ExecutionNotFound,
    InvalidRequest,
    TooManyExecutions,
    VMNotFound,
    VMNotRunning,
)
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, command, eventually, vm_request

pytestmark = pytest.mark.anyio
FOR_EVER = {"background": True, "timeout": math.inf}


async def ended(pool: VMPoolManager, user: int, begun: Execution) -> Execution:
    """The execution once it has ended."""
    with anyio.fail_after(10):
        await pool.controls.until_ended(begun.vm_id, begun.id)
    return await pool.get_execution(user, begun.vm_id, begun.id)


async def test_it_answers_while_the_program_runs(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("echo one; sleep 0.2; exit 3", **FOR_EVER))
    assert (begun.state, begun.background, begun.outcome) == (ExecutionState.RUNNING, True, None)
    assert await pool.get_execution(world.ada, vm.id, begun.id) == begun
    assert await pool.list_executions(world.ada, vm.id, state=ExecutionState.RUNNING) == [begun]
    assert (await pool.status(world.ada, vm.id)).executions == 1
    result = await ended(pool, world.ada, begun)
    assert result.outcome is not None
    assert (result.state, result.background) == (ExecutionState.FINISHED, True)
    assert (result.outcome.output, result.outcome.exit_code) == ("one\n", 3)
    await eventually(world.nothing_runs)
    assert await pool.list_executions(world.ada, vm.id, state=ExecutionState.RUNNING) == []
    assert await pool.list_executions(world.ada, vm.id, state=ExecutionState.FINISHED) == [result]


async def test_what_is_refused_is_refused_at_once(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    with pytest.raises(InvalidRequest, match="cwd"):
        await pool.start_execution(world.ada, vm.id, command("true", cwd="/nowhere", **FOR_EVER))
    with pytest.raises(InvalidRequest, match="timeout"):
        await pool.start_execution(world.ada, vm.id, command("true", timeout=math.inf))
    with pytest.raises(InvalidRequest, match="stdin"):
        await pool.start_execution(world.ada, vm.id, command("true", stdin="x", stdin_open=True))
    await pool.stop_vm(world.ada, vm.id)
    with pytest.raises(VMNotRunning):
        await pool.start_execution(world.ada, vm.id, command("true", **FOR_EVER))


async def test_an_operator_may_bound_them(world: World) -> None:
    async with world.server(replace(QUICK, max_background=1000.0, max_in_flight=2)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        with pytest.raises(InvalidRequest, match="at most 1000 seconds"):
            await pool.start_execution(world.ada, vm.id, command("true", **FOR_EVER))
        for _ in range(2):
            await pool.start_execution(world.ada, vm.id, command("sleep 60", background=True, timeout=1000))
        with pytest.raises(TooManyExecutions):
            await pool.execute(world.ada, vm.id, command("true"))


async def test_a_time_limit_holds_in_the_background_too(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("sleep 60", background=True, timeout=0.1))
    result = await ended(pool, world.ada, begun)
    assert result.outcome is not None and result.outcome.timed_out


async def test_a_vms_end_is_theirs(world: World, pool: VMPoolManager) -> None:
    for verb, end in (("stopped", pool.stop_vm), ("deleted", pool.delete_vm)):
        vm = await pool.create_vm(world.ada, vm_request(verb))
        begun = await pool.start_execution(world.ada, vm.id, command("sleep 60", **FOR_EVER))
        await end(world.ada, vm.id)
        result = await ended(pool, world.ada, begun)
        assert (result.state, result.failure) == (ExecutionState.LOST, f"ended because the VM was {verb}")


async def test_the_next_server_takes_them_over(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        begun = await pool.start_execution(
            world.ada, vm.id, command("cat; echo ended", stdin_open=True, **FOR_EVER)
        )
        await pool.controls.write_stdin(world.ada, vm.id, begun.id, b"first ")
        await world.until_output(pool, vm.id, "first")
    async with world.server() as pool:

        async def followed() -> bool:
            return bool((await pool.status(world.ada, vm.id)).executions)

        await eventually(followed)
        assert await pool.list_executions(world.ada, vm.id, state=ExecutionState.RUNNING) == [begun]
        await pool.controls.write_stdin(world.ada, vm.id, begun.id, b"first second", offset=0, close=True)
        result = await ended(pool, world.ada, begun)
        assert result.outcome is not None
        assert result.outcome.output == "first secondended\n"
        assert result.timeout == math.inf


async def test_one_that_is_not_followed_yet_is_told_apart(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        row = await world.store.executions.begin(vm.id, "x", "bash", 60.0)
        with pytest.raises(AgentUnreachable, match="not follow") as refusal:
            await pool.controls.signal(world.ada, vm.id, row.id, signal.SIGTERM)
        assert refusal.value.retryable and refusal.value.dispatch == "never_dispatched"


async def test_cancelling(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("echo begun; sleep 60", **FOR_EVER))
    await world.until_output(pool, vm.id, "begun")
    result = await pool.controls.cancel(world.ada, vm.id, begun.id)
    assert result.outcome is not None
    assert (result.state, result.failure) == (ExecutionState.FINISHED, "it was cancelled")
    assert (result.outcome.output, result.outcome.exit_code) == ("begun\n", 128 + signal.SIGTERM)
    await eventually(world.nothing_runs)
    assert await pool.get_execution(world.ada, vm.id, begun.id) == result  # the row says the same
    assert await pool.controls.cancel(world.ada, vm.id, begun.id) == result
    with pytest.raises(ExecutionNotFound):
        await pool.controls.cancel(world.ada, vm.id, begun.id + 1)
    with pytest.raises(VMNotFound):
        await pool.controls.cancel(world.bob, vm.id, begun.id)


async def test_without_grace_it_is_killed(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("sleep 60", **FOR_EVER))
    result = await pool.controls.cancel(world.ada, vm.id, begun.id, grace=0)
    assert result.outcome is not None and result.outcome.exit_code == 128 + signal.SIGKILL


async def test_one_that_somebody_waits_for_can_be_cancelled_too(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    results: list[Execution] = []

    async def execute() -> None:
        results.append(await pool.execute(world.ada, vm.id, command("echo begun; sleep 60")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(execute)
        await world.until_output(pool, vm.id, "begun")
        (running,) = await pool.list_executions(world.ada, vm.id, state=ExecutionState.RUNNING)
        cancelled = await pool.controls.cancel(world.ada, vm.id, running.id)
    assert results == [cancelled]


async def test_signals(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("sleep 60", **FOR_EVER))
    await pool.controls.signal(world.ada, vm.id, begun.id, signal.SIGWINCH)
    await pool.controls.signal(world.ada, vm.id, begun.id, signal.SIGINT)
    result = await ended(pool, world.ada, begun)
    assert result.outcome is not None and result.outcome.exit_code == 130
    assert (result.state, result.failure) == (ExecutionState.FINISHED, None)
    with pytest.raises(ExecutionEnded):
        await pool.controls.signal(world.ada, vm.id, begun.id, signal.SIGINT)


async def test_standard_input_while_it_runs(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("cat", stdin_open=True, **FOR_EVER))
    controls = pool.controls
    position = await controls.write_stdin(world.ada, vm.id, begun.id, b"one\n")
    assert (position.offset, position.closed) == (4, False)
    await world.until_output(pool, vm.id, "one")
    again = await controls.write_stdin(world.ada, vm.id, begun.id, b"one\ntwo\n", offset=0)
    assert again.offset == 8  # only what was not there before
    with pytest.raises(InvalidRequest, match="gap"):
        await controls.write_stdin(world.ada, vm.id, begun.id, b"x", offset=9)
    closed = await controls.write_stdin(world.ada, vm.id, begun.id, b"", close=True)
    assert (closed.offset, closed.closed) == (8, True)
    result = await ended(pool, world.ada, begun)
    assert result.outcome is not None and result.outcome.output == "one\ntwo\n"
    with pytest.raises(ExecutionEnded):
        await controls.write_stdin(world.ada, vm.id, begun.id, b"x")


async def test_a_standard_input_that_is_not_open(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("sleep 60", **FOR_EVER))
    with pytest.raises(ExecutionEnded, match="takes no standard input"):
        await pool.controls.write_stdin(world.ada, vm.id, begun.id, b"x")


async def test_an_agent_that_is_lost_takes_them_with_it(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("sleep 60", **FOR_EVER))
    await world.host.kill(MachineKey(vm.id))
    result = await ended(pool, world.ada, begun)
    assert result.state is not ExecutionState.FINISHED
