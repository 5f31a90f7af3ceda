"""Spares are made, handed on once, and given up, on a whole pool."""

from __future__ import annotations

from dataclasses import replace

import anyio
import anyio.lowlevel
import pytest

from tests.unit.pool.world import QUICK, World, code, command, eventually, pending, vm_request
from vmpool.backends.base import MachineKey
from vmpool.backends.fake import Fail, Hold, Slow
from vmpool.domain import VM, Limits, VMState
from vmpool.errors import BackendFailed, PoolFull, Unsupported, VMNotFound
from vmpool.pool.requests import LimitsRequest
from vmpool.pool.settings import PoolSettings
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.warm_pool.bounds import Bounds
from vmpool.pool.warm_pool.figures import Miss, WarmPoolFigures
from vmpool.pool.warm_pool.keeper import SETTLE_AFTER

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def keeping(count: int, **more: object) -> PoolSettings:
    """A pool that always has this many Python VMs ready."""
    return replace(QUICK, warm_pool=Bounds(minimum={"python": count}, **more))  # type: ignore[arg-type]


def spares(world: World) -> set[MachineKey]:
    return {key for key in world.keys if key.is_spare}


async def figures(world: World, pool: VMPoolManager) -> WarmPoolFigures:
    return (await pool.pool_status(world.ada)).warm_pool


async def until_ready(world: World, pool: VMPoolManager, count: int, template: str = "python") -> None:
    async def there() -> bool:
        found = await figures(world, pool)
        return found.ready.get(template, 0) == count and not found.making

    await eventually(there)


async def output(world: World, pool: VMPoolManager, vm: VM, line: str) -> str:
    outcome = (await pool.execute(world.ada, vm.id, command(line))).outcome
    assert outcome is not None
    return outcome.output


def container(world: World, key: MachineKey) -> str:
    return world.host.machines[key].container_id


async def test_a_create_takes_what_is_ready(world: World) -> None:
    async with world.server(keeping(1)) as pool:
        await until_ready(world, pool, 1)
        (spare,) = spares(world)
        made = container(world, spare)
        vm = await pool.create_vm(world.ada, vm_request("mine"))
        assert (vm.container_id, vm.state) == (made, VMState.RUNNING)
        assert spare not in world.keys
        assert await output(world, pool, vm, "hostname") == "mine\n"
        await until_ready(world, pool, 1)
        found = await figures(world, pool)
        assert (found.enabled, found.hits, found.hit_rate, found.made) == (True, 1, 1.0, 2)


async def test_limits_changed_before_the_engine_is_told_of_the_claim_stay(world: World) -> None:
    async with world.server(keeping(1)) as pool:
        await until_ready(world, pool, 1)
        vm = await pool.create_vm(world.ada, vm_request("mine"))
        changed = await pool.change_limits(world.ada, vm.id, LimitsRequest(memory=300))
        await anyio.sleep(2 * SETTLE_AFTER)
        (machine,) = (one for key, one in world.host.machines.items() if not key.is_spare)
        assert machine.spec.limits == changed.limits


async def test_demand_fills_the_pool_and_a_dry_one_says_so(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with world.server(replace(QUICK, warm_pool=Bounds())) as pool:
        assert spares(world) == set()
        vm = await pool.create_vm(world.ada, vm_request())
        assert f"VM {vm.id} is made cold: spares of python: dry" in caplog.text
        await until_ready(world, pool, 1)
        assert (await figures(world, pool)).misses[Miss.DRY] == 1
        await pool.create_vm(world.ada, vm_request("second"))
        await until_ready(world, pool, 2)
        assert (await figures(world, pool)).hit_rate == 0.5


async def test_nobody_reaches_a_spare(world: World) -> None:
    async with world.server(keeping(2)) as pool:
        await until_ready(world, pool, 2)
        assert await pool.list_vms(world.ada) == []
        references: list[int | str] = [0, "0", "vm", *(str(key) for key in spares(world))]
        for reference in references:
            with pytest.raises(VMNotFound):
                await pool.execute(world.ada, reference, code("print(1)"))
        assert (await pool.pool_status(world.ada)).use.vms == 0


async def test_no_two_creates_get_the_same(world: World) -> None:
    async with world.server(keeping(4)) as pool:
        await until_ready(world, pool, 4)
        world.backend.faults["claim"] = Slow(0.02)
        made: list[VM] = []

        async def create(name: str) -> None:
            made.append(await pool.create_vm(world.ada, vm_request(name)))

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(create, f"vm-{number}")
        assert len({vm.container_id for vm in made}) == 8
        assert [await output(world, pool, vm, "hostname") for vm in made] == [f"{vm.name}\n" for vm in made]
        assert (await figures(world, pool)).hits == 4


async def test_a_used_vm_is_never_handed_on(world: World) -> None:
    async with world.server(keeping(1, maximum=1)) as pool:
        used: set[str | None] = set()
        for number in range(4):
            await until_ready(world, pool, 1)
            vm = await pool.create_vm(world.ada, vm_request(f"vm-{number}"))
            assert vm.container_id not in used
            used.add(vm.container_id)
            await pool.delete_vm(world.ada, vm.id)
        assert (await figures(world, pool)).hits == 4


async def test_spares_never_stand_in_a_users_way(world: World) -> None:
    """At every moment VMs and spares together stay within the limit, and every create within it succeeds."""
    most = 4
    settings = replace(keeping(4, maximum=4, at_once=2), max_total_vms=most)
    async with world.server(settings) as pool, anyio.create_task_group() as tasks:
        too_many: list[int] = []

        async def watch() -> None:
            while True:
                there = len(world.keys | world.host.creating)
                if there > most:
                    too_many.append(there)
                await anyio.lowlevel.checkpoint()

        tasks.start_soon(watch)
        await until_ready(world, pool, 4)
        for number, language in enumerate(("bash", "python", "bash", "python")):
            await pool.create_vm(world.ada, vm_request(f"vm-{number}", language=language))
        with pytest.raises(PoolFull):
            await pool.create_vm(world.ada, vm_request("one-more"))
        assert spares(world) == set()
        assert too_many == []
        tasks.cancel_scope.cancel()


async def test_spares_leave_for_the_memory_rule_too(world: World) -> None:
    settings = replace(keeping(2), host_memory=1024, memory_overcommit=1.0)
    async with world.server(settings) as pool:
        await until_ready(world, pool, 2)
        await pool.create_vm(world.ada, vm_request(language="bash", limits=Limits(memory=1024)))
        assert spares(world) == set()


async def test_nothing_is_made_while_a_create_waits(world: World) -> None:
    hold = Hold()
    async with world.server(replace(QUICK, warm_pool=Bounds()), create=hold) as pool:
        async with pending(pool.create_vm(world.ada, vm_request())) as one:
            await hold.reached.wait()
            await anyio.sleep(0.3)
            assert not [key for key in world.host.creating | world.keys if key.is_spare]
            assert not (await figures(world, pool)).making
            hold.release()
        assert one.value.state is VMState.RUNNING
        await until_ready(world, pool, 1)


async def test_one_that_died_is_not_handed_on(world: World) -> None:
    settings = replace(keeping(2), reconcile_every=60)
    async with world.server(settings) as pool:
        await until_ready(world, pool, 2)
        for spare in spares(world):
            await world.host.kill(spare)
        vm = await pool.create_vm(world.ada, vm_request())
        assert vm.state is VMState.RUNNING
        assert await output(world, pool, vm, "echo yes") == "yes\n"
        assert (await figures(world, pool)).misses[Miss.FAILED] == 1


async def test_the_reconciler_replaces_what_died_or_is_outdated(world: World) -> None:
    async with world.server(keeping(2)) as pool:
        await until_ready(world, pool, 2)
        first, second = spares(world)
        await world.host.kill(first)
        world.host.outdated.add(second)

        async def replaced() -> bool:
            return not {first, second} & world.keys

        await eventually(replaced)
        await until_ready(world, pool, 2)
        assert (await figures(world, pool)).dropped == 2


async def test_a_failed_claim_leaves_nothing_and_is_made_cold(world: World) -> None:
    async with world.server(keeping(1), claim=Fail(BackendFailed("no"))) as pool:
        await until_ready(world, pool, 1)
        (spare,) = spares(world)
        vm = await pool.create_vm(world.ada, vm_request())
        assert vm.state is VMState.RUNNING

        async def gone() -> bool:
            return spare not in world.keys

        await eventually(gone)


async def test_a_cancelled_create_leaves_nothing(world: World) -> None:
    hold = Hold()
    async with world.server(keeping(1), claim=hold) as pool:
        await until_ready(world, pool, 1)
        (spare,) = spares(world)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.create_vm, world.ada, vm_request())
            await hold.reached.wait()
            tasks.cancel_scope.cancel()

        async def gone() -> bool:
            return spare not in world.keys and not await pool.list_vms(world.ada)

        await eventually(gone)
        hold.release()


@pytest.mark.parametrize("failure", [BackendFailed("no"), KeyError("a defect of ours")])
async def test_it_tries_again_after_a_failure(world: World, failure: Exception) -> None:
    async with world.server(keeping(1), create=Fail(failure, times=1)) as pool:
        await until_ready(world, pool, 1)
        found = await figures(world, pool)
        assert (found.failed, found.made) == (1, 1)


async def test_where_it_cannot_be_it_is_not_tried_again(world: World) -> None:
    async with world.server(keeping(1), create=Fail(Unsupported("spares", "fake"), times=1)) as pool:

        async def off() -> bool:
            return not (await figures(world, pool)).enabled

        await eventually(off)
        assert "spares" in (await figures(world, pool)).reason
        vm = await pool.create_vm(world.ada, vm_request())
        await anyio.sleep(0.3)
        assert world.keys == {MachineKey(vm.id)}


async def test_switched_off(world: World) -> None:
    settings = replace(QUICK, warm_pool=Bounds(maximum=0, minimum={"python": 3}))
    async with world.server(settings) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await anyio.sleep(0.3)
        assert world.keys == {MachineKey(vm.id)}
        assert (await figures(world, pool)).reason == "switched off by the settings"


async def test_a_template_there_is_not_is_left_out(world: World) -> None:
    settings = replace(QUICK, warm_pool=Bounds(minimum={"python": 1, "cobol": 3}))
    async with world.server(settings) as pool:
        await until_ready(world, pool, 1)
        found = await figures(world, pool)
        assert (found.wanted, found.failed) == ({"python": 1}, 0)


async def test_a_server_that_ends_leaves_no_spare(world: World) -> None:
    async with world.server(keeping(3)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await until_ready(world, pool, 3)
    assert world.keys == {MachineKey(vm.id)}
    async with world.server(keeping(1), create=Slow(0.5)):
        await anyio.sleep(0.2)
        assert world.host.creating
    assert world.keys == {MachineKey(vm.id)}


async def test_a_server_in_a_hurry_leaves_them_to_the_next(world: World) -> None:
    async with world.server(keeping(2)) as pool:
        await until_ready(world, pool, 2)
        pool.hurry()
    left = spares(world)
    assert len(left) == 2
    async with world.server() as pool:
        await eventually(lambda: not_there(world, left))


async def not_there(world: World, keys: set[MachineKey]) -> bool:
    return not keys & spares(world)


async def test_what_a_killed_server_left_is_sorted_out(world: World) -> None:
    """An unclaimed spare goes, one that was handed on is its VM's."""
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request("mine"))
        await pool.execute(world.ada, vm.id, command("echo kept > file"))
    await world.host.plant(MachineKey.spare(1))
    unsettled = world.host.machines.pop(MachineKey(vm.id))
    unsettled.key = MachineKey.spare(2)
    world.host.machines[unsettled.key] = unsettled
    async with world.server() as pool:
        assert world.keys == {MachineKey(vm.id)}
        assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING
        assert await output(world, pool, vm, "cat file") == "kept\n"


async def test_the_next_to_be_claimed_has_its_interpreter_warm(world: World) -> None:
    async with world.server(keeping(3)) as pool:
        await until_ready(world, pool, 3)

        def warm() -> list[MachineKey]:
            agents = {key: world.host.machines[key].agent for key in spares(world)}
            return [key for key, agent in agents.items() if agent is not None and agent.warmed]

        async def one_is() -> bool:
            return len(warm()) == 1

        await eventually(one_is)
        (first,) = warm()
        expected = container(world, first)
        fixed = await pool.create_vm(world.ada, vm_request("fixed", env={"PYTHONPATH": "/tmp"}))
        assert fixed.container_id != expected
        vm = await pool.create_vm(world.ada, vm_request("usual", env={"A": "b"}))
        assert vm.container_id == expected
