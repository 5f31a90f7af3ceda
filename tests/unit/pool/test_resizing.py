"""Other limits for a VM: what is refused, what is undone, and what the next server finishes."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from vmpool.backends.fake import Fail, Never
from vmpool.domain import VM, Limits, VMState
from vmpool.errors import BackendFailed, Conflict, InvalidRequest, PoolFull, Unsupported, VMNotFound
from vmpool.pool.context import key_of
from vmpool.pool.requests import LimitsRequest
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, eventually, vm_request

pytestmark = pytest.mark.anyio

SMALL = Limits(cpu=1, memory=100, disk=100, processes=100)


async def made(world: World, pool: VMPoolManager, name: str = "box") -> VM:
    return await pool.create_vm(world.ada, vm_request(name, limits=SMALL))


def held(world: World, vm: VM) -> Limits:
    """What the machine has."""
    return world.host.machines[key_of(vm)].spec.limits


@pytest.mark.parametrize("stopped", [False, True])
async def test_what_is_named_changes_and_the_rest_stays(
    world: World, pool: VMPoolManager, stopped: bool
) -> None:
    vm = await made(world, pool)
    if stopped:
        await pool.stop_vm(world.ada, vm.id)
    changed = await pool.change_limits(world.ada, "box", LimitsRequest(cpu=2, processes=50))
    assert changed.limits == Limits(cpu=2, memory=100, disk=100, processes=50) == held(world, vm)
    assert changed.wanted is None
    assert await pool.get_vm(world.ada, vm.id) == changed == await world.store.vms.get(world.ada, vm.id)
    assert changed.state is (VMState.STOPPED if stopped else VMState.RUNNING)
    assert await pool.change_limits(world.ada, "box", LimitsRequest()) == changed


async def test_a_later_start_has_them(world: World, pool: VMPoolManager) -> None:
    vm = await made(world, pool)
    await pool.change_limits(world.ada, vm.id, LimitsRequest(memory=200))
    await pool.snapshot(world.ada, vm.id, "kept")
    await pool.restart_vm(world.ada, vm.id)
    restored = await pool.restore(world.ada, vm.id, "kept")
    assert held(world, restored).memory == restored.limits.memory == 200


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (LimitsRequest(memory=1), InvalidRequest),
        (LimitsRequest(cpu=1000), InvalidRequest),
        (LimitsRequest(processes=1), InvalidRequest),
        (LimitsRequest(disk=50), Unsupported),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    world: World, pool: VMPoolManager, asked: LimitsRequest, error: type[Exception]
) -> None:
    vm = await made(world, pool)
    with pytest.raises(error):
        await pool.change_limits(world.ada, vm.id, asked)
    assert await world.store.vms.get(world.ada, vm.id) == vm
    assert held(world, vm) == SMALL


async def test_only_the_owner_and_only_where_it_stands(world: World, pool: VMPoolManager) -> None:
    vm = await made(world, pool)
    with pytest.raises(VMNotFound):
        await pool.change_limits(world.bob, vm.id, LimitsRequest(cpu=2))
    await world.host.vanish(key_of(vm))
    await world.until_state(pool, vm.id, VMState.ERROR)
    with pytest.raises(Conflict):
        await pool.change_limits(world.ada, vm.id, LimitsRequest(cpu=2))


async def test_growing_takes_room_in_the_pool_and_shrinking_gives_it_back(world: World) -> None:
    async with world.server(replace(QUICK, host_memory=150, memory_overcommit=2.0, max_memory=1000)) as pool:
        one, _ = await made(world, pool, "one"), await made(world, pool, "two")
        with pytest.raises(PoolFull):
            await pool.change_limits(world.ada, one.id, LimitsRequest(memory=201))
        await pool.change_limits(world.ada, one.id, LimitsRequest(memory=200))
        with pytest.raises(PoolFull):
            await made(world, pool, "three")
        await pool.change_limits(world.ada, one.id, LimitsRequest(memory=100))
        await made(world, pool, "three")


async def test_disks_together_have_a_bound_where_one_is_set(world: World) -> None:
    async with world.server(replace(QUICK, disk_capacity=250)) as pool:
        one, _ = await made(world, pool, "one"), await made(world, pool, "two")
        with pytest.raises(PoolFull) as full:
            await made(world, pool, "three")
        assert (full.value.context["rule"], full.value.context["limit"]) == ("disk", 250)
        await pool.change_limits(world.ada, one.id, LimitsRequest(disk=150))
        with pytest.raises(PoolFull):
            await pool.change_limits(world.ada, one.id, LimitsRequest(disk=151))


async def test_the_room_is_taken_before_the_machine_has_it(world: World) -> None:
    """And what is cut off then, the next server finishes."""
    settings = replace(QUICK, host_memory=150, memory_overcommit=2.0, max_memory=1000, reconcile_every=100)
    async with world.server(settings, resize=Never()) as pool, anyio.create_task_group() as tasks:
        one, _ = await made(world, pool, "one"), await made(world, pool, "two")
        tasks.start_soon(pool.change_limits, world.ada, one.id, LimitsRequest(memory=200))

        async def announced() -> bool:
            return (await world.store.vms.get(world.ada, one.id)).wanted is not None

        await eventually(announced)
        assert (await pool.get_vm(world.ada, one.id)).limits == SMALL
        with pytest.raises(PoolFull):
            await made(world, pool, "three")
        tasks.cancel_scope.cancel()
    assert held(world, one) == SMALL
    async with world.server() as pool:
        await eventually(lambda: settled(pool, world, one, 200))
        assert held(world, one).memory == 200


async def settled(pool: VMPoolManager, world: World, vm: VM, memory: int) -> bool:
    now = await pool.get_vm(world.ada, vm.id)
    return now.wanted is None and now.limits.memory == memory


async def test_what_the_kernel_refuses_is_undone(world: World) -> None:
    async with world.server(resize=Fail(BackendFailed("more is in use"), times=1)) as pool:
        vm = await made(world, pool)
        with pytest.raises(BackendFailed, match="more is in use"):
            await pool.change_limits(world.ada, vm.id, LimitsRequest(memory=50))
        assert await world.store.vms.get(world.ada, vm.id) == vm
        assert held(world, vm) == SMALL


async def test_what_cannot_be_undone_now_is_settled_later(world: World) -> None:
    async with world.server(resize=Fail(BackendFailed("no"), times=2)) as pool:
        vm = await made(world, pool)
        with pytest.raises(BackendFailed):
            await pool.change_limits(world.ada, vm.id, LimitsRequest(memory=50))
        await eventually(lambda: settled(pool, world, vm, 50))
        assert held(world, vm).memory == 50
