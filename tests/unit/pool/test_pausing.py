"""Held VMs: what fails is undone, what was cut off is finished, and what cannot be is refused."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from vmpool.backends.base import MachineState, SupportsPause
from vmpool.backends.fake import Fail, Never
from vmpool.domain import VM, VMState
from vmpool.errors import BackendFailed, Unsupported
from vmpool.pool.context import key_of
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import World, command, eventually, vm_request

pytestmark = pytest.mark.anyio


def machine(world: World, vm: VM) -> MachineState:
    return world.host.machines[key_of(vm)].seen().state


async def test_a_backend_that_cannot_leaves_it_running(world: World) -> None:
    async with world.server(pause=Fail(BackendFailed("not now"), times=1)) as pool:
        vm = await pool.create_vm(world.ada, vm_request("box"))
        with pytest.raises(BackendFailed):
            await pool.pause_vm(world.ada, vm.id)
        assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING
        assert machine(world, vm) is MachineState.RUNNING
        assert (await pool.pause_vm(world.ada, vm.id)).state is VMState.PAUSED


async def test_one_that_does_not_go_on_says_why(world: World) -> None:
    async with world.server(resume=Fail(BackendFailed("stuck"), times=1)) as pool:
        vm = await pool.create_vm(world.ada, vm_request("box"))
        await pool.pause_vm(world.ada, vm.id)
        with pytest.raises(BackendFailed):
            await pool.resume_vm(world.ada, vm.id)
        failed = await pool.get_vm(world.ada, vm.id)
        assert (failed.state, "stuck" in (failed.error or "")) == (VMState.ERROR, True)
        assert (await pool.start_vm(world.ada, vm.id)).state is VMState.RUNNING


async def test_a_pause_that_was_cut_off_is_finished(world: World) -> None:
    async with world.server(pause=Never()) as pool, anyio.create_task_group() as tasks:
        vm = await pool.create_vm(world.ada, vm_request("box"))
        tasks.start_soon(pool.pause_vm, world.ada, vm.id)
        await world.until_state(pool, vm.id, VMState.PAUSED)
        tasks.cancel_scope.cancel()
    assert machine(world, vm) is MachineState.RUNNING
    async with world.server() as pool:

        async def held() -> bool:
            return machine(world, vm) is MachineState.PAUSED

        await eventually(held)
        assert (await pool.get_vm(world.ada, vm.id)).state is VMState.PAUSED


async def test_what_a_snapshot_has_left_held_goes_on(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request("box"))
    world.host.machines[key_of(vm)].paused = True
    async with world.server() as pool:

        async def going() -> bool:
            return machine(world, vm) is MachineState.RUNNING

        await eventually(going)
        assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING


async def test_a_silent_agent_of_a_held_vm_is_no_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.agent.connection._HEARTBEAT_SECONDS", 0.02)
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request("box"))
        await pool.pause_vm(world.ada, vm.id)
        connections = pool._context.connections
        opened = connections.get(key_of(vm))
        await anyio.sleep(0.3)
        assert connections.get(key_of(vm)) is opened and opened.connected
        await pool.resume_vm(world.ada, vm.id)
        assert (await pool.files_of(world.ada, vm.id)).vm.state is VMState.RUNNING


async def test_an_idle_vm_is_paused_until_it_is_used(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request("box", idle_pause=1))
    assert vm.idle_pause == 1
    await world.until_state(pool, vm.id, VMState.PAUSED)
    done = await pool.execute(world.ada, vm.id, command("echo awake"))
    assert done.outcome is not None and done.outcome.output == "awake\n"
    assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING
    await world.until_state(pool, vm.id, VMState.PAUSED)
    (copy,) = await pool.fork(world.ada, vm.id, 1)
    assert copy.idle_pause == 1


async def test_where_it_cannot_be_it_is_refused(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request("box"))
    assert isinstance(world.backend, SupportsPause)
    context = pool._context
    context.info = replace(context.info, capabilities=())
    with pytest.raises(Unsupported, match="stop the VM instead"):
        await pool.pause_vm(world.ada, vm.id)
    with pytest.raises(Unsupported, match="idle_timeout"):
        await pool.create_vm(world.ada, vm_request("other", idle_pause=1))
    assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING
