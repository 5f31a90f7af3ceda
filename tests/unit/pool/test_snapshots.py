from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import pytest

from vmpool.backends.base import MachineKey
from vmpool.backends.fake import Fail, FakeBackend, Hold, Slow
from vmpool.domain import ExecutionState, VMState
from vmpool.errors import (
    BackendFailed,
    Conflict,
    IllegalTransition,
    InvalidRequest,
    SnapshotNotFound,
    Unsupported,
    VMNotFound,
)
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, command, eventually, pending, vm_request

pytestmark = pytest.mark.anyio

T = TypeVar("T")


async def output(pool: VMPoolManager, user_id: int, vm_id: int, text: str) -> str:
    result = await pool.execute(user_id, vm_id, command(text))
    assert result.outcome is not None
    return result.outcome.output


async def test_a_restore_puts_files_back_and_is_repeatable(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await output(pool, world.ada, vm.id, "echo first > note")
    kept = await pool.snapshot(world.ada, vm.id, "before")
    assert (kept.vm_id, kept.name, kept.size) == (vm.id, "before", 6)
    restored = vm
    for _ in range(2):
        await output(pool, world.ada, vm.id, "echo second > note; echo new > other")
        restored = await pool.restore(world.ada, vm.id, kept.id)
        assert (restored.id, restored.state, restored.restored_from) == (vm.id, VMState.RUNNING, kept.id)
        assert await output(pool, world.ada, vm.id, "cat note; ls") == "first\nnote\n"
    assert world.keys == {MachineKey(vm.id, 3)}
    assert restored.generation == 3 and restored.container_id != vm.container_id


async def test_a_stopped_vm_can_be_kept_and_restored_and_then_runs(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.stop_vm(world.ada, vm.id)
    kept = await pool.snapshot(world.ada, vm.id)
    assert kept.name
    assert (await pool.restore(world.ada, vm.id, kept.name)).state is VMState.RUNNING


async def test_snapshots_survive_the_server_and_belong_to_one_vm(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        other = await pool.create_vm(world.ada, vm_request("other"))
        first = await pool.snapshot(world.ada, vm.id)
        second = await pool.snapshot(world.ada, vm.id)
    async with world.server() as pool:
        assert await pool.list_snapshots(world.ada, vm.id) == [second, first]
        with pytest.raises(SnapshotNotFound):
            await pool.restore(world.ada, other.id, first.id)
        with pytest.raises(VMNotFound):
            await pool.restore(world.bob, vm.id, first.id)
        await pool.restore(world.ada, vm.id, first.id)


async def test_names_are_checked(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.snapshot(world.ada, vm.id, "one")
    with pytest.raises(Conflict):
        await pool.snapshot(world.ada, vm.id, "one")
    for name in ("", "123", "a\nb", "x" * 256):
        with pytest.raises(InvalidRequest):
            await pool.snapshot(world.ada, vm.id, name)


async def test_a_restore_that_fails_leaves_the_vm_as_it_was(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    kept = await pool.snapshot(world.ada, vm.id)
    world.backend.faults["create"] = Fail(BackendFailed("no space"))
    async with pending(pool.execute(world.ada, vm.id, command("echo on; sleep 0.3; echo and on"))) as run:
        await world.until_output(pool, vm.id, "on")
        before = await pool.get_vm(world.ada, vm.id)
        with pytest.raises(BackendFailed):
            await pool.restore(world.ada, vm.id, kept.id)
        after = await pool.get_vm(world.ada, vm.id)
        assert (after.state, after.generation, after.started_at) == (VMState.RUNNING, 1, before.started_at)
    assert run.value.outcome is not None and run.value.outcome.output == "on\nand on\n"
    await pool.stop_vm(world.ada, vm.id)
    stopped = await pool.get_vm(world.ada, vm.id)
    with pytest.raises(BackendFailed):
        await pool.restore(world.ada, vm.id, kept.id)
    assert await pool.get_vm(world.ada, vm.id) == stopped
    assert world.keys == {MachineKey(vm.id)}


async def test_a_cancelled_restore_leaves_the_vm_as_it_was(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    kept = await pool.snapshot(world.ada, vm.id)
    world.backend.faults["create"] = Hold()
    with anyio.move_on_after(0.1):
        await pool.restore(world.ada, vm.id, kept.id)
    assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING
    assert world.keys == {MachineKey(vm.id)}


async def test_what_runs_is_ended_by_a_restore(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    kept = await pool.snapshot(world.ada, vm.id)
    async with pending(pool.execute(world.ada, vm.id, command("echo on; sleep 60"))) as run:
        await world.until_output(pool, vm.id, "on")
        await pool.restore(world.ada, vm.id, kept.id)
    assert run.value.state is ExecutionState.LOST
    assert run.value.failure == "ended because the VM was restored"


async def test_a_snapshot_that_fails_leaves_no_trace(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    world.backend.faults["snapshot"] = Fail(BackendFailed("no space"), times=1)
    with pytest.raises(BackendFailed):
        await pool.snapshot(world.ada, vm.id, "name")
    assert not world.host.snapshots and not await world.store.snapshots.all()
    await pool.snapshot(world.ada, vm.id, "name")


async def test_a_vm_that_is_not_whole_is_not_kept(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await world.host.vanish(MachineKey(vm.id))
    await world.until_state(pool, vm.id, VMState.ERROR)
    with pytest.raises(IllegalTransition):
        await pool.snapshot(world.ada, vm.id)


async def test_an_errored_vm_is_brought_back_by_a_restore(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    kept = await pool.snapshot(world.ada, vm.id)
    await world.host.vanish(MachineKey(vm.id))
    await world.until_state(pool, vm.id, VMState.ERROR)
    restored = await pool.restore(world.ada, vm.id, kept.id)
    assert (restored.state, restored.error) == (VMState.RUNNING, None)


async def test_a_deleted_vms_snapshots_go_with_it(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.snapshot(world.ada, vm.id)
    keep = await pool.create_vm(world.ada, vm_request("other"))
    kept = await pool.snapshot(world.ada, keep.id)
    await pool.delete_vm(world.ada, vm.id)

    async def gone() -> bool:
        return [row.id for row in await world.store.snapshots.all()] == [kept.id]

    await eventually(gone)
    assert list(world.host.snapshots) == [kept.reference]


async def test_a_snapshot_can_be_deleted_alone(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    kept = await pool.snapshot(world.ada, vm.id)
    await pool.delete_snapshot(world.ada, vm.id, kept.id)
    assert not world.host.snapshots and not await pool.list_snapshots(world.ada, vm.id)


class WithoutSnapshots(FakeBackend):
    snapshot = None  # type: ignore[assignment]


async def test_a_snapshot_is_deleted_by_one_at_a_time(world: World) -> None:
    """The reconciler, which finishes deletions nobody works on, leaves this one alone."""
    slow = Counted(20 * QUICK.reconcile_every)
    async with world.server(delete_snapshot=slow) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        kept = await pool.snapshot(world.ada, vm.id, "before")
        await pool.delete_snapshot(world.ada, vm.id, kept.id)
        assert slow.count == 1
        assert await world.store.snapshots.all() == []


class Counted(Slow):
    """Slow, and how often it was asked."""

    count = 0

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        self.count += 1
        return await super().apply(act)


async def test_a_backend_without_the_power_says_so(world: World) -> None:
    async with (
        WithoutSnapshots(host=world.host) as backend,
        VMPoolManager(world.store, backend, QUICK, state_dir=world.state_dir) as pool,
    ):
        vm = await pool.create_vm(world.ada, vm_request())
        with pytest.raises(Unsupported):
            await pool.snapshot(world.ada, vm.id)
