"""The same code in many VMs: what ends first comes first, whatever the others do."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from vmpool.domain import Execution, ExecutionState
from vmpool.errors import VMNotFound, VMPoolError
from vmpool.pool.batch import Arrival, ItemError, as_they_end, in_order
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, command, eventually, vm_request

pytestmark = pytest.mark.anyio

MANY = replace(QUICK, max_vms_per_user=100, max_total_vms=100)
NAP = command("sleep $NAP; echo done")


async def create(world: World, pool: VMPoolManager, naps: list[str]) -> list[int]:
    """A VM for each, in which `NAP` takes so many seconds; their ids."""
    return [
        (await pool.create_vm(world.ada, vm_request(f"vm-{place}", env={"NAP": nap}))).id
        for place, nap in enumerate(naps)
    ]


def vm_of(item: Execution | ItemError) -> int | str:
    return item.reference if isinstance(item, ItemError) else item.vm_id


@pytest.mark.parametrize("count", [10, 100])
async def test_one_that_is_slow_does_not_hold_up_the_others(world: World, count: int) -> None:
    async with world.server(MANY) as pool:
        ids = await create(world, pool, ["600", *["0"] * (count - 1)])
        async with pool.batch(world.ada, NAP) as arrivals:
            early = [await anext(arrivals) for _ in ids[1:]]
            assert sorted((place, vm_of(item)) for place, item in early) == list(enumerate(ids))[1:]
            await pool.stop_vm(world.ada, ids[0])
            place, last = await anext(arrivals)
            with pytest.raises(StopAsyncIteration):
                await anext(arrivals)
    assert place == 0
    assert isinstance(last, Execution)
    assert (last.vm_id, last.state) == (ids[0], ExecutionState.LOST)


async def test_the_whole_is_in_the_order_of_the_request(world: World, pool: VMPoolManager) -> None:
    ids = await create(world, pool, ["0.2", "0.1", "0"])
    async with pool.batch(world.ada, NAP, [*ids, "none"]) as arrivals:
        assert [place async for place, _ in arrivals] == [3, 2, 1, 0]
    items = await pool.batch_execute(world.ada, NAP, [*ids, "none"])
    assert [vm_of(item) for item in items] == [*ids, "none"]


async def test_a_reader_that_takes_nothing_holds_nobody_up(world: World, pool: VMPoolManager) -> None:
    await create(world, pool, ["0"] * 5)
    async with pool.batch(world.ada, NAP) as arrivals:
        await eventually(world.nothing_runs)
        assert len([arrival async for arrival in arrivals]) == 5


async def test_what_was_begun_goes_on_when_the_reader_leaves(world: World, pool: VMPoolManager) -> None:
    ids = await create(world, pool, ["0.2"] * 5)
    async with pool.batch(world.ada, NAP):
        await anyio.wait_all_tasks_blocked()
    await eventually(world.nothing_runs)
    for vm_id in ids:
        (ran,) = await pool.list_executions(world.ada, vm_id)
        assert (ran.state, ran.outcome and ran.outcome.output) == (ExecutionState.FINISHED, "done\n")


async def test_leaving_at_once_still_begins_all(world: World, pool: VMPoolManager) -> None:
    """Nothing between entering and leaving lets the items' tasks run: none may be forgotten."""
    ids = await create(world, pool, ["0"] * 3)
    async with pool.batch(world.ada, NAP):
        pass

    async def all_ran() -> bool:
        return all([await pool.list_executions(world.ada, vm_id) for vm_id in ids])

    await eventually(all_ran)
    await eventually(world.nothing_runs)


async def test_a_defect_in_one_is_that_items(
    world: World, pool: VMPoolManager, caplog: pytest.LogCaptureFixture
) -> None:
    (vm_id,) = await create(world, pool, ["0"])

    async def execute(reference: int | str) -> Execution:
        if reference == "broken":
            raise RuntimeError("a defect")
        return await pool.execute(world.ada, reference, NAP)

    broken, ran, unknown = await in_order(as_they_end(["broken", vm_id, "unknown"], execute))
    assert isinstance(ran, Execution)
    assert isinstance(unknown, ItemError) and isinstance(unknown.error, VMNotFound)
    assert isinstance(broken, ItemError) and type(broken.error) is VMPoolError
    assert "a defect" not in broken.error.message
    assert "a defect" in caplog.text


async def test_being_cancelled_is_no_item() -> None:
    found: list[Arrival] = []

    async def execute(reference: int | str) -> Execution:
        await anyio.sleep_forever()
        raise AssertionError

    with anyio.move_on_after(0.01) as scope:
        async with as_they_end(["a", "b"], execute) as arrivals:
            found += [arrival async for arrival in arrivals]
    assert scope.cancelled_caught
    assert found == []
