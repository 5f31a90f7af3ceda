"""Drift between rows and machines, and what a new server makes of what an old one left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import anyio
import pytest

from vmpool.backends.base import MachineKey, MachineState
from vmpool.backends.fake import Fail, FakeHost, Hold, LoseAfterCreate, Never, Slow
from vmpool.domain import ExecutionState, VMState
from vmpool.errors import BackendFailed, BackendUnreachable
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, code, command, eventually, vm_request

pytestmark = pytest.mark.anyio

T = TypeVar("T")


class GoesDown:
    """The verb meets an engine on its way down, which fails it and then answers nothing more."""

    def __init__(self, host: FakeHost) -> None:
        self._host = host

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        self._host.engine_up = False
        raise BackendFailed("the engine is going down")


class TestFaults:
    async def test_a_create_that_fails_leaves_nothing_and_its_name_is_free(self, world: World) -> None:
        async with world.server(create=Fail(BackendFailed("no space"), times=1)) as pool:
            with pytest.raises(BackendFailed, match="no space"):
                await pool.create_vm(world.ada, vm_request())
            assert not world.keys and not await pool.list_vms(world.ada)
            assert (await pool.create_vm(world.ada, vm_request())).state is VMState.RUNNING

    async def test_a_create_whose_answer_is_lost_leaves_no_machine(self, world: World) -> None:
        async with world.server(create=LoseAfterCreate(times=1)) as pool:
            with pytest.raises(BackendFailed):
                await pool.create_vm(world.ada, vm_request())
            assert not world.keys and not await pool.list_vms(world.ada)

    async def test_a_create_that_never_ends_is_given_up_in_time(self, world: World) -> None:
        async with world.server(replace(QUICK, create_timeout=0.1), create=Never()) as pool:
            with pytest.raises(BackendFailed, match=r"0\.1 seconds"):
                await pool.create_vm(world.ada, vm_request())
            assert not await pool.list_vms(world.ada)

    async def test_a_cancelled_create_leaves_nothing(self, world: World) -> None:
        async with world.server(create=Slow(0.2)) as pool:
            with anyio.move_on_after(0.1):
                await pool.create_vm(world.ada, vm_request())
            assert not world.keys and not await pool.list_vms(world.ada)

    async def test_a_vm_can_be_deleted_while_it_is_made(self, world: World) -> None:
        hold = Hold()
        async with world.server(create=hold) as pool, anyio.create_task_group() as tasks:
            refusals = []

            async def create() -> None:
                try:
                    await pool.create_vm(world.ada, vm_request())
                except Exception as error:
                    refusals.append(str(error))

            tasks.start_soon(create)
            await hold.reached.wait()
            with anyio.fail_after(2):
                await pool.delete_vm(world.ada, "test-vm")
            await anyio.sleep(0.05)
            assert refusals == ["VM 1 was deleted while it was being made"]
            assert not world.keys and not await pool.list_vms(world.ada)

    async def test_a_start_that_fails_says_why_and_can_be_tried_again(self, world: World) -> None:
        async with world.server(start=Fail(BackendFailed("no memory"), times=1)) as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            await pool.stop_vm(world.ada, vm.id)
            with pytest.raises(BackendFailed):
                await pool.start_vm(world.ada, vm.id)
            errored = await pool.get_vm(world.ada, vm.id)
            assert (errored.state, errored.error) == (VMState.ERROR, "no memory")
            assert (await pool.status(world.ada, vm.id)).vm.error == "no memory"
            started = await pool.start_vm(world.ada, vm.id)
            assert (started.state, started.error) == (VMState.RUNNING, None)

    async def test_a_delete_that_fails_is_finished_behind_the_callers_back(self, world: World) -> None:
        async with world.server(destroy=Fail(BackendUnreachable("down"), times=2)) as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            with pytest.raises(BackendUnreachable):
                await pool.delete_vm(world.ada, vm.id)

            async def gone() -> bool:
                return not world.keys and not await pool.list_vms(world.ada)

            await eventually(gone)

    async def test_one_vm_whose_backend_hangs_does_not_hold_up_the_others(self, world: World) -> None:
        async with world.server() as pool:
            held = await pool.create_vm(world.ada, vm_request("held"))
            free = await pool.create_vm(world.ada, vm_request("free"))
            world.backend.faults["stop"] = Never()
            with anyio.move_on_after(0.1):
                await pool.stop_vm(world.ada, held.id)
            result = await pool.execute(world.ada, free.id, command("echo ok"))
            assert result.outcome is not None and result.outcome.output == "ok\n"
            del world.backend.faults["stop"]


class TestDrift:
    async def test_a_machine_that_is_gone_makes_its_vm_an_error(
        self, world: World, pool: VMPoolManager
    ) -> None:
        vm = await pool.create_vm(world.ada, vm_request())
        await world.host.vanish(MachineKey(vm.id))
        errored = await world.until_state(pool, vm.id, VMState.ERROR)
        assert errored.error == "its machine and files are gone"
        with pytest.raises(BackendFailed):
            await pool.start_vm(world.ada, vm.id)
        await pool.delete_vm(world.ada, vm.id)
        assert not await pool.list_vms(world.ada)

    async def test_after_a_reboot_of_the_host_vms_are_stopped_and_start_with_their_files(
        self, world: World
    ) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            await pool.execute(world.ada, vm.id, command("echo kept > note"))
        await world.host.reboot()
        async with world.server() as pool:
            assert (await pool.get_vm(world.ada, vm.id)).state is VMState.STOPPED
            await pool.start_vm(world.ada, vm.id)
            result = await pool.execute(world.ada, vm.id, command("cat note"))
            assert result.outcome is not None and result.outcome.output == "kept\n"

    async def test_a_stopped_vm_that_runs_is_stopped_again(self, world: World, pool: VMPoolManager) -> None:
        vm = await pool.create_vm(world.ada, vm_request())
        await pool.stop_vm(world.ada, vm.id)
        machine = world.host.machines[MachineKey(vm.id)]
        await world.host.boot(machine)

        async def stopped() -> bool:
            return machine.seen().state is MachineState.STOPPED

        await eventually(stopped)
        assert (await pool.get_vm(world.ada, vm.id)).state is VMState.STOPPED

    async def test_an_orphan_is_destroyed_on_its_second_sighting(self, world: World) -> None:
        stranger = MachineKey(4711)
        async with world.server(replace(QUICK, reconcile_every=0.3)):
            await world.host.plant(stranger)
            await anyio.sleep(0.4)
            assert stranger in world.keys

            async def gone() -> bool:
                return stranger not in world.keys

            await eventually(gone)

    async def test_an_orphan_that_is_half_made_goes_too(self, world: World) -> None:
        await world.host.plant(MachineKey(4711), half=True)
        async with world.server():
            await eventually(world.host_is_empty)

    async def test_a_backend_that_forgot_everything_is_believed(self, world: World) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
        async with world.server(forgets=True) as pool:
            assert (await pool.get_vm(world.ada, vm.id)).state is VMState.ERROR

    async def test_an_engine_that_is_down_is_no_reason_to_change_a_row(self, world: World) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            world.host.engine_up = False
            await anyio.sleep(0.3)
            assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING
            world.host.engine_up = True
            assert (await pool.execute(world.ada, vm.id, command("true"))).outcome is not None

    async def test_a_machine_that_ended_with_its_engine_is_stopped_once_the_engine_answers(
        self, world: World, pool: VMPoolManager
    ) -> None:
        vm = await pool.create_vm(world.ada, vm_request())
        world.backend.faults["stop"] = GoesDown(world.host)
        await world.host.kill(MachineKey(vm.id))
        await world.until_state(pool, vm.id, VMState.STOPPING)
        await anyio.sleep(0.3)
        assert not world.host.engine_up
        assert (await pool.get_vm(world.ada, vm.id)).state is VMState.STOPPING
        world.host.engine_up = True
        del world.backend.faults["stop"]
        stopped = await world.until_state(pool, vm.id, VMState.STOPPED)
        assert stopped.error == "it stopped without being asked to"
        assert (await pool.start_vm(world.ada, vm.id)).state is VMState.RUNNING


class TestTakingOver:
    async def test_a_new_server_finds_running_vms_and_uses_them(self, world: World) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            await pool.execute(world.ada, vm.id, command("echo kept > note"))
        async with world.server() as pool:
            assert await pool.list_vms(world.ada) == [await world.store.vms.get(world.ada, vm.id)]
            result = await pool.execute(world.ada, vm.id, command("cat note"))
            assert result.outcome is not None and result.outcome.output == "kept\n"

    async def test_what_still_runs_is_followed_to_its_end(self, world: World) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ignoring, pool, world.ada, vm.id, "echo one; sleep 0.4; echo two")
                await world.until_output(pool, vm.id, "one")
                tasks.cancel_scope.cancel()
        async with world.server() as pool:
            await eventually(world.nothing_runs)
            (execution,) = await pool.list_executions(world.ada, vm.id)
            assert execution.state is ExecutionState.FINISHED
            assert execution.outcome is not None and execution.outcome.output == "one\ntwo\n"

    async def test_what_ended_meanwhile_is_recorded_whole(self, world: World) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ignoring, pool, world.ada, vm.id, "echo one; sleep 0.1; echo two; exit 4")
                await world.until_output(pool, vm.id, "one")
                tasks.cancel_scope.cancel()
        await anyio.sleep(0.3)
        async with world.server() as pool:
            await eventually(world.nothing_runs)
            (execution,) = await pool.list_executions(world.ada, vm.id)
            assert execution.outcome is not None
            assert (execution.outcome.output, execution.outcome.exit_code) == ("one\ntwo\n", 4)
            assert world.host.machines[MachineKey(vm.id)].agent is not None

    @pytest.mark.parametrize("limit", [1 << 20, 200_000, 1000])
    async def test_output_the_agent_was_told_to_forget_is_not_lost(self, world: World, limit: int) -> None:
        """300 kB before the old server ends, as much after: the agent alone could not replay it."""
        settings = replace(QUICK, max_output=limit)
        text = "import time\nprint('a' * 300000)\nprint('first')\ntime.sleep(0.5)\nprint('b' * 300000)"
        async with world.server(settings) as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ignoring, pool, world.ada, vm.id, text, "python")
                await world.until_output(pool, vm.id, "first")
                tasks.cancel_scope.cancel()
        async with world.server(settings) as pool:
            await eventually(world.nothing_runs)
            (execution,) = await pool.list_executions(world.ada, vm.id)
            assert execution.state is ExecutionState.FINISHED and execution.outcome is not None
            whole = "a" * 300000 + "\nfirst\n" + "b" * 300000 + "\n"
            if limit >= len(whole):
                assert execution.outcome.output == whole
            else:
                assert execution.outcome.truncated
                assert execution.outcome.output.startswith("a" * (limit // 2))
                assert execution.outcome.output.endswith("b" * (limit // 2 - 1) + "\n")
            file = world.state_dir / "spool" / f"{execution.id}.stdout"
            if limit < len(whole):
                assert file.read_text() == whole
                file.unlink()
            await eventually(world.spool_is_empty)

    async def test_an_execution_that_was_announced_and_never_sent_is_lost(self, world: World) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
        execution = await world.store.executions.begin(vm.id, "true", "bash", 10)
        async with world.server() as pool:
            await eventually(world.nothing_runs)
            settled = await pool.get_execution(world.ada, vm.id, execution.id)
            assert (settled.state, settled.outcome) == (ExecutionState.LOST, None)
            assert settled.failure is not None and "not running" in settled.failure

    async def test_what_ran_in_a_vm_that_is_gone_is_lost(self, world: World) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
        await world.store.executions.begin(vm.id, "true", "bash", 10)
        await world.host.vanish(MachineKey(vm.id))
        async with world.server() as pool:
            await eventually(world.nothing_runs)
            (settled,) = await pool.list_executions(world.ada, vm.id)
            assert (
                settled.failure
                == "the VM was found error after the server ended: its machine and files are gone"
            )

    async def test_a_time_limit_holds_across_servers(self, world: World) -> None:
        async with world.server() as pool:
            vm = await pool.create_vm(world.ada, vm_request())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ignoring, pool, world.ada, vm.id, "echo one; sleep 60", None, 0.5)
                await world.until_output(pool, vm.id, "one")
                tasks.cancel_scope.cancel()
        async with world.server() as pool:
            await eventually(world.nothing_runs)
            (execution,) = await pool.list_executions(world.ada, vm.id)
            assert execution.outcome is not None and execution.outcome.timed_out


async def ignoring(
    pool: VMPoolManager,
    user_id: int,
    vm_id: int,
    text: str,
    language: str | None = None,
    timeout: float = 30,
) -> None:
    """Run it and never hear the answer."""
    asked = command(text, timeout=timeout) if language is None else code(text, timeout=timeout)
    await pool.execute(user_id, vm_id, asked)
