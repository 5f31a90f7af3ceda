from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from vmpool.backends.base import MachineKey, Usage
from vmpool.domain import Limits, VMState
from vmpool.errors import PoolFull
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, command, eventually, vm_request

pytestmark = pytest.mark.anyio


async def test_a_vm_past_its_time_to_live_is_deleted(world: World, pool: VMPoolManager) -> None:
    await pool.create_vm(world.ada, vm_request("short", ttl=1))
    keep = await pool.create_vm(world.ada, vm_request("long", ttl=100))

    async def gone() -> bool:
        return [vm.name for vm in await pool.list_vms(world.ada)] == ["long"]

    await eventually(gone)
    assert world.keys == {MachineKey(keep.id)}


async def test_an_idle_vm_is_stopped_and_a_used_one_is_not(world: World, pool: VMPoolManager) -> None:
    idle = await pool.create_vm(world.ada, vm_request("idle", idle_timeout=1))
    used = await pool.create_vm(world.ada, vm_request("used", idle_timeout=1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.execute, world.ada, used.id, command("sleep 1.6"))
        await world.until_state(pool, idle.id, VMState.STOPPED)
        assert (await pool.get_vm(world.ada, used.id)).state is VMState.RUNNING


async def test_when_a_vm_was_used_survives_the_server(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await pool.execute(world.ada, vm.id, command("true"))
        used = (await pool.get_vm(world.ada, vm.id)).last_used_at
    assert (await world.store.vms.get(world.ada, vm.id)).last_used_at == used


async def test_history_past_its_retention_is_removed(world: World) -> None:
    async with world.server(replace(QUICK, keep_executions=3)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        for number in range(6):
            await pool.execute(world.ada, vm.id, command(f"echo {number}"))
    async with world.server(replace(QUICK, keep_executions=3)) as pool:

        async def pruned() -> bool:
            return len(await pool.list_executions(world.ada, vm.id)) == 3

        await eventually(pruned)
        assert [entry.data for entry in await pool.logs(world.ada, vm.id)] == ["3\n", "4\n", "5\n"]


async def test_a_full_pool_says_which_rule_refused(world: World) -> None:
    async with world.server(replace(QUICK, host_memory=1000, max_total_vms=3)) as pool:
        for number in range(2):
            await pool.create_vm(world.ada, vm_request(f"vm-{number}", limits=Limits(memory=900)))
        with pytest.raises(PoolFull) as full:
            await pool.create_vm(world.bob, vm_request(limits=Limits(memory=300)))
        assert full.value.context["rule"] == "memory"
        await pool.create_vm(world.bob, vm_request(limits=Limits(memory=200)))
        with pytest.raises(PoolFull) as full:
            await pool.create_vm(world.bob, vm_request("next", limits=Limits(memory=16)))
        assert full.value.context["rule"] == "total_vms"


async def test_the_pools_figures(world: World, pool: VMPoolManager) -> None:
    await pool.create_vm(world.ada, vm_request("one", limits=Limits(cpu=0.5, memory=100, disk=200)))
    two = await pool.create_vm(world.ada, vm_request("two", limits=Limits(cpu=1.5, memory=300, disk=400)))
    await pool.create_vm(world.bob, vm_request(limits=Limits(cpu=1, memory=50, disk=60)))
    await pool.stop_vm(world.ada, two.id)
    status = await pool.pool_status(world.ada)
    assert (status.use.vms, status.use.of_user) == (3, 2)
    assert (status.use.cpu, status.use.memory, status.use.disk) == (3.0, 450, 660)
    assert status.states == {VMState.RUNNING: 2, VMState.STOPPED: 1}
    assert (status.limits.max_vms_per_user, status.limits.max_total_vms) == (10, 100)
    assert (status.limits.max_execution_time, status.limits.memory) == (600, 200_000)
    assert status.backend.name == "fake"
    assert status.host.cpus >= 1 and status.host.memory_bytes > status.host.memory_available_bytes > 0


async def test_a_vms_figures(world: World, pool: VMPoolManager, monkeypatch: pytest.MonkeyPatch) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    first = await pool.status(world.ada, vm.id)
    assert first.usage.processes == 1 and first.cpu_percent == 0
    assert first.uptime is not None and 0 <= first.uptime < 60

    async def busy(key: MachineKey) -> Usage:
        return Usage(cpu_seconds=anyio.current_time() / 2)

    monkeypatch.setattr(world.backend, "usage", busy)
    await pool.status(world.ada, vm.id)
    await anyio.sleep(0.15)
    second = await pool.status(world.ada, vm.id)
    assert second.cpu_percent is not None and second.cpu_percent == pytest.approx(50, abs=1)
    stopped = await pool.stop_vm(world.ada, vm.id)
    status = await pool.status(world.ada, vm.id)
    assert (status.vm, status.usage, status.uptime, status.cpu_percent) == (stopped, Usage(), None, None)
