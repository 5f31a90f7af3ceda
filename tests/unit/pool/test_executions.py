from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from vmpool.backends.base import MachineKey, Usage
from vmpool.backends.fake import Fail, Never
from vmpool.domain import ExecutionState, VMState
from vmpool.errors import (
    AgentUnreachable,
    BackendUnreachable,
    ExecutionNotFound,
    InvalidRequest,
    TooManyExecutions,
)
from vmpool.pool.batch import ItemError
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, code, command, eventually, pending, vm_request

pytestmark = pytest.mark.anyio


async def test_the_specifications_example(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    result = await pool.execute(world.ada, vm.id, code("print('Hello from VM!')"))
    assert result.outcome is not None
    assert (result.outcome.output, result.outcome.error, result.outcome.exit_code) == (
        "Hello from VM!\n",
        "",
        0,
    )
    assert (result.vm_id, result.language, result.state) == (vm.id, "python", ExecutionState.FINISHED)
    assert result.outcome.execution_time >= 0 and not result.outcome.truncated
    assert await pool.get_execution(world.ada, vm.id, result.id) == result
    assert await pool.list_executions(world.ada, "test-vm") == [result]
    with pytest.raises(ExecutionNotFound):
        await pool.get_execution(world.ada, vm.id, result.id + 1)


async def test_a_program_that_fails_is_a_result(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    failed = await pool.execute(world.ada, vm.id, command("echo out; echo err >&2; exit 3"))
    assert failed.outcome is not None
    assert (failed.outcome.output, failed.outcome.error, failed.outcome.exit_code) == ("out\n", "err\n", 3)
    raised = await pool.execute(world.ada, vm.id, code("1 / 0"))
    assert raised.outcome is not None and raised.outcome.exit_code == 1
    assert "ZeroDivisionError" in raised.outcome.error
    assert {raised.state, failed.state} == {ExecutionState.FINISHED}


async def test_standard_input_environment_and_directory_arrive(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request(env={"A": "vm", "B": "vm"}))
    await pool.execute(world.ada, vm.id, command("mkdir work"))
    request = command("cat; echo $A $B $HOME; pwd", stdin="in\n", env={"B": "request"}, cwd="work")
    result = await pool.execute(world.ada, vm.id, request)
    assert result.outcome is not None
    assert result.outcome.output == "in\nvm request /home/user\n/home/user/work\n"


async def test_a_directory_that_is_not_there_is_the_callers_mistake(
    world: World, pool: VMPoolManager
) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    with pytest.raises(InvalidRequest) as refusal:
        await pool.execute(world.ada, vm.id, command("pwd", cwd="absent"))
    assert refusal.value.context["field"] == "cwd"
    (execution,) = await pool.list_executions(world.ada, vm.id)
    assert execution.state is ExecutionState.LOST and execution.outcome is None


async def test_the_source_is_gone_afterwards(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.execute(world.ada, vm.id, code("print(1)"))
    await pool.execute(world.ada, vm.id, code("nonsense", language="go"))
    assert world.host.machines[MachineKey(vm.id)].files.files == {}


async def test_a_timeout_is_a_result_that_says_so(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    result = await pool.execute(world.ada, vm.id, command("echo begun; sleep 60", timeout=0.05))
    assert result.outcome is not None and result.outcome.timed_out
    assert (result.outcome.output, result.outcome.exit_code) == ("begun\n", 137)
    assert not result.outcome.oom_killed


async def test_executions_in_one_vm_run_at_the_same_time_up_to_a_bound(world: World) -> None:
    async with world.server(replace(QUICK, max_in_flight=4)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(pool.execute, world.ada, vm.id, command("sleep 0.5"))
                await anyio.sleep(0.2)
                with pytest.raises(TooManyExecutions) as refusal:
                    await pool.execute(world.ada, vm.id, command("true"))
                assert refusal.value.retry_after
                assert (await pool.status(world.ada, vm.id)).executions == 4
        assert (await pool.execute(world.ada, vm.id, command("true"))).outcome is not None


async def test_a_caller_who_goes_away_loses_nothing(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    with anyio.move_on_after(0.05):
        await pool.execute(world.ada, vm.id, command("echo begun; sleep 0.2; echo ended"))
    await world.until_output(pool, vm.id, "ended")
    await eventually(world.nothing_runs)
    (execution,) = await pool.list_executions(world.ada, vm.id)
    assert execution.outcome is not None and execution.outcome.output == "begun\nended\n"


async def test_output_beyond_the_bound_keeps_its_beginning_and_its_end(world: World) -> None:
    async with world.server(replace(QUICK, max_output=1000)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        result = await pool.execute(world.ada, vm.id, code("print('a' * 3000000 + 'the end')"))
        assert result.outcome is not None and result.outcome.truncated
        assert result.outcome.output.startswith("a" * 500) and result.outcome.output.endswith("athe end\n")
        assert "[2999008 bytes left out]" in result.outcome.output
        assert len(result.outcome.output) < 1100
        assert (result.outcome.output_bytes, result.outcome.output_file) == (3_000_008, 3_000_008)
        assert (result.outcome.error_bytes, result.outcome.error_file) == (0, None)


async def test_bytes_that_are_not_utf_8_are_replaced(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    text = "import sys\nsys.stdout.buffer.write(b'\\xff\\x00\\xc3\\xa9')"
    result = await pool.execute(world.ada, vm.id, code(text))
    assert result.outcome is not None
    assert result.outcome.output.startswith("\ufffd") and result.outcome.output.endswith("é")


async def test_a_broken_connection_costs_nothing(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    async with pending(pool.execute(world.ada, vm.id, command("echo one; sleep 0.3; echo two"))) as run:
        await world.until_output(pool, vm.id, "one")
        world.host.cut(MachineKey(vm.id))
    assert run.value.outcome is not None and run.value.outcome.output == "one\ntwo\n"


async def test_a_server_that_ends_takes_nothing_more(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
    with pytest.raises(AgentUnreachable) as refusal, anyio.fail_after(1):
        await pool.execute(world.ada, vm.id, command("true"))
    assert refusal.value.dispatch == "never_dispatched"


async def test_an_agent_that_dies_is_an_infrastructure_failure(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    failures = []

    async def run() -> None:
        try:
            await pool.execute(world.ada, vm.id, command("echo begun; sleep 60"))
        except AgentUnreachable as error:
            failures.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await world.until_output(pool, vm.id, "begun")
        await world.host.kill(MachineKey(vm.id))
    (failure,) = failures
    assert failure.dispatch == "outcome_unknown"
    (execution,) = await pool.list_executions(world.ada, vm.id)
    assert failure.context["execution_id"] == execution.id
    assert execution.state is ExecutionState.LOST and execution.failure
    assert execution.outcome is not None and execution.outcome.output == "begun\n"
    stopped = await world.until_state(pool, vm.id, VMState.STOPPED)
    assert stopped.error == "it stopped without being asked to"
    assert (await pool.start_vm(world.ada, vm.id)).error is None


async def test_an_agent_out_of_reach_means_the_code_never_ran(world: World) -> None:
    async with world.server(dial=Fail(BackendUnreachable("down"))) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        agent = world.host.machines[MachineKey(vm.id)].agent
        assert agent is not None
        with pytest.raises(AgentUnreachable) as failure:
            await pool.execute(world.ada, vm.id, command("true"))
        assert failure.value.dispatch == "never_dispatched"
        (execution,) = await pool.list_executions(world.ada, vm.id)
        assert (execution.state, execution.outcome) == (ExecutionState.LOST, None)
        assert agent.started_executions == 0


async def test_a_stop_does_not_wait_for_an_agent_that_hangs(world: World) -> None:
    async with world.server(dial=Never()) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                results = []

                async def run() -> None:
                    try:
                        await pool.execute(world.ada, vm.id, command("true"))
                    except AgentUnreachable as error:
                        results.append(error.dispatch)

                tasks.start_soon(run)
                await anyio.sleep(0.05)
                assert (await pool.stop_vm(world.ada, vm.id)).state is VMState.STOPPED
        assert results == ["never_dispatched"]


@pytest.mark.parametrize(("kills", "killed"), [((0, 1), True), ((1, 1), False), ((None, None), False)])
async def test_a_kill_is_for_memory_when_the_machines_counter_rose(
    world: World, pool: VMPoolManager, monkeypatch: pytest.MonkeyPatch, kills: tuple[int, int], killed: bool
) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    counter = kills[0]

    async def usage(key: MachineKey) -> Usage:
        return Usage(oom_kills=counter)

    monkeypatch.setattr(world.backend, "usage", usage)
    await pool.execute(world.ada, vm.id, command("exit 137"))  # the pool learns the counter
    counter = kills[1]
    result = await pool.execute(world.ada, vm.id, command("exit 137"))
    assert result.outcome is not None and result.outcome.oom_killed is killed
    ordinary = await pool.execute(world.ada, vm.id, command("exit 1"))
    assert ordinary.outcome is not None and not ordinary.outcome.oom_killed


class TestBatch:
    async def test_runs_in_all_running_vms_at_once(self, world: World, pool: VMPoolManager) -> None:
        vms = [await pool.create_vm(world.ada, vm_request(f"vm-{n}")) for n in range(4)]
        await pool.create_vm(world.bob, vm_request())
        await pool.stop_vm(world.ada, vms[2].id)
        with anyio.fail_after(2):
            items = await pool.batch_execute(world.ada, command("sleep 0.3; hostname"))
        outputs = [
            (item.vm_id, item.outcome.output)
            for item in items
            if not isinstance(item, ItemError) and item.outcome
        ]
        assert outputs == [(vm.id, f"{vm.name}\n") for vm in (vms[0], vms[1], vms[3])]

    async def test_one_vms_failure_is_that_items(self, world: World, pool: VMPoolManager) -> None:
        first = await pool.create_vm(world.ada, vm_request("first"))
        await pool.create_vm(world.ada, vm_request("second"))
        foreign = await pool.create_vm(world.bob, vm_request("foreign"))
        await pool.stop_vm(world.ada, "second")
        references: list[int | str] = ["second", first.id, foreign.id, 4711, "first"]
        items = await pool.batch_execute(world.ada, command("echo ok"), references)
        told = [
            (item.reference, item.error.code) if isinstance(item, ItemError) else item.vm_id for item in items
        ]
        assert told == [
            ("second", "vm_not_running"),
            first.id,
            (foreign.id, "vm_not_found"),
            (4711, "vm_not_found"),
            first.id,
        ]

    async def test_of_no_vms_is_empty(self, world: World, pool: VMPoolManager) -> None:
        assert await pool.batch_execute(world.ada, command("true")) == []
