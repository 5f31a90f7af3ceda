"""A server killed at every single moment of every verb: the next one makes rows and reality agree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from uuid import uuid4

import anyio
import pytest

from vmpool.backends.base import MachineKey, MachineState
from vmpool.domain import VM, Execution, ExecutionState, SnapshotState, VMState
from vmpool.domain.template_build import NewBuild, Step
from vmpool.errors import VMPoolError
from vmpool.pool.context import key_of
from vmpool.pool.lifecycle import IN_PROGRESS
from vmpool.pool.requests import LimitsRequest
from vmpool.pool.settings import TemplateSettings
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.store import Store, utcnow

from .crash import Crash, MortalBackend, MortalDatabase
from .world import QUICK, World, command, eventually, vm_request

pytestmark = pytest.mark.anyio

Scenario = Callable[[VMPoolManager, int], Awaitable[object]]
VERB_SETTINGS = replace(
    QUICK,
    reconcile_every=100,
    expire_every=100,
    cleanup_timeout=0.5,
    templates=TemplateSettings(most=200),
)
"""Nothing in the background: the side effects are the verb's own, in the same order every time."""


async def create(pool: VMPoolManager, user: int) -> object:
    return await pool.create_vm(user, vm_request("new"))


async def execute(pool: VMPoolManager, user: int) -> object:
    return await pool.execute(user, "box", command("echo ran >> ran; echo one; sleep 0.05; echo two"))


async def stop(pool: VMPoolManager, user: int) -> object:
    return await pool.stop_vm(user, "box")


async def start(pool: VMPoolManager, user: int) -> object:
    return await pool.start_vm(user, "still")


async def restart(pool: VMPoolManager, user: int) -> object:
    return await pool.restart_vm(user, "box")


async def delete(pool: VMPoolManager, user: int) -> object:
    await pool.delete_vm(user, "box")
    return None


async def snapshot(pool: VMPoolManager, user: int) -> object:
    return await pool.snapshot(user, "box", "second")


async def restore_running(pool: VMPoolManager, user: int) -> object:
    return await pool.restore(user, "box", "first")


async def restore_stopped(pool: VMPoolManager, user: int) -> object:
    return await pool.restore(user, "still", "first")


async def publish(pool: VMPoolManager, user: int) -> object:
    return await pool.publish(user, "box", f"template-{uuid4().hex}")


async def publish_a_snapshot(pool: VMPoolManager, user: int) -> object:
    first = (await pool.list_snapshots(user, "still"))[-1]
    return await pool.templates.publish_snapshot(user, first.id, f"template-{uuid4().hex}", "")


async def delete_template(pool: VMPoolManager, user: int) -> object:
    made = await pool.templates.list(user)
    await pool.templates.delete(user, made[-1].id)
    return None


async def create_from_template(pool: VMPoolManager, user: int) -> object:
    made = await pool.templates.list(user)
    return await pool.create_vm(user, vm_request("new", template=made[-1].name))


async def build_template(pool: VMPoolManager, user: int) -> object:
    steps = (Step(run="echo one > one"), Step(run="echo two > two"))
    asked = NewBuild(user, "built", "bash", steps, replace=True, fresh=True)
    build = await pool.builds.begin(asked, vm_request("build", language=None))
    async for _ in await pool.builds.follow(user, build.id):
        pass
    return None


async def change_limits(pool: VMPoolManager, user: int) -> object:
    now = (await pool.get_vm(user, "box")).limits
    return await pool.change_limits(user, "box", LimitsRequest(memory=now.memory + 1, processes=50))


async def change_limits_stopped(pool: VMPoolManager, user: int) -> object:
    now = (await pool.get_vm(user, "still")).limits
    return await pool.change_limits(user, "still", LimitsRequest(cpu=0.5, disk=now.disk + 1))


SCENARIOS = [
    create,
    execute,
    stop,
    start,
    restart,
    delete,
    snapshot,
    publish,
    publish_a_snapshot,
    delete_template,
    create_from_template,
    build_template,
    restore_running,
    restore_stopped,
    change_limits,
    change_limits_stopped,
]


async def prepare(world: World) -> None:
    """A running VM `box` and a stopped one `still`, each with a file and a snapshot, left by a server."""
    async with world.server(VERB_SETTINGS) as pool:
        for name in ("box", "still"):
            vm = await pool.create_vm(world.ada, vm_request(name))
            await pool.execute(world.ada, vm.id, command("echo kept > note"))
            await pool.snapshot(world.ada, vm.id, "first")
        await pool.publish(world.ada, "box", "base")
        await pool.stop_vm(world.ada, "still")


async def die_in(world: World, scenario: Scenario, crash: Crash) -> bool:
    """Run the scenario on a server that dies; whether it lived long enough to die."""
    store = Store(MortalDatabase(world.store.database, crash), utcnow)
    backend = MortalBackend(world.host, crash)

    async def serve() -> None:
        with suppress(VMPoolError):
            async with VMPoolManager(store, backend, VERB_SETTINGS, state_dir=world.state_dir) as pool:
                crash.count = 0
                await scenario(pool, world.ada)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await crash.happened.wait()
        tasks.cancel_scope.cancel()
    return crash.happened.is_set()


async def assert_rows_and_reality_agree(world: World, pool: VMPoolManager) -> None:
    """Wait for the reconciler, then hold every claim of every row against the host."""

    async def settled() -> bool:
        vms = await pool.list_vms(world.ada)
        return (
            not any(vm.state in IN_PROGRESS or vm.wanted is not None for vm in vms)
            and world.keys == {key_of(vm) for vm in vms}
            and await world.nothing_runs()
            and await world.store.templates.unsettled() == []
            and await world.store.template_builds.building() == []
            and not any(vm.build_id for vm in vms)
            and {row.reference for row in await world.store.snapshots.all()} == set(world.host.snapshots)
        )

    await eventually(settled)
    for vm in await pool.list_vms(world.ada):
        assert await world.store.vms.get(world.ada, vm.id) == vm
        machine = world.host.machines[key_of(vm)].seen()
        assert vm.state in (VMState.RUNNING, VMState.STOPPED), vm.error
        running = vm.state is VMState.RUNNING
        assert machine.state is (MachineState.RUNNING if running else MachineState.STOPPED)
        assert vm.container_id == machine.container_id
        assert world.host.machines[key_of(vm)].spec.limits == vm.limits
        if not running:
            await pool.start_vm(world.ada, vm.id)
        result = await pool.execute(world.ada, vm.id, command("echo usable"))
        assert result.outcome is not None and result.outcome.output == "usable\n"
    assert await world.store.snapshots.pending() == []
    kept = {row.id for row in await world.store.snapshots.all() if row.state is SnapshotState.KEPT}
    assert kept <= await world.store.templates.held() <= {row.id for row in await world.store.snapshots.all()}


@pytest.mark.parametrize(
    ("scenario", "moment"),
    [(scenario, moment) for scenario in SCENARIOS for moment in ("before", "after")]
    + [(scenario, "half") for scenario in (create, restore_running, restore_stopped)],
)
async def test_killed_at_any_moment_of(world: World, scenario: Scenario, moment: str) -> None:
    await prepare(world)
    deaths = 0
    for at in range(1, 50):
        if not await die_in(world, scenario, Crash(world.host, at, moment)):
            break
        deaths += 1
        async with world.server() as pool:
            await assert_rows_and_reality_agree(world, pool)
            await assert_true_history(world, await pool.list_vms(world.ada))
            await put_back(world, pool)
    else:
        pytest.fail("the scenario never lived to its end")
    assert deaths >= 2


async def assert_true_history(world: World, vms: list[VM]) -> None:
    """What an execution's row says is what happened in the machine."""
    for vm in vms:
        files = world.host.machines[key_of(vm)].files.files
        ran = files["/home/user/ran"].data.count(b"ran") if "/home/user/ran" in files else 0
        history = await world.store.executions.list(vm.id)
        finished = [one for one in history if one.code.startswith("echo ran") and is_whole(one)]
        lost = [one for one in history if one.state is ExecutionState.LOST]
        assert len(finished) == ran
        assert all(one.failure for one in lost)


def is_whole(execution: Execution) -> bool:
    return execution.outcome is not None and execution.outcome.output == "one\ntwo\n"


async def put_back(world: World, pool: VMPoolManager) -> None:
    """Everything as `prepare` left it, for the next death."""
    names = {vm.name: vm for vm in await pool.list_vms(world.ada)}
    if "new" in names:
        await pool.delete_vm(world.ada, "new")
    if "box" not in names:
        vm = await pool.create_vm(world.ada, vm_request("box"))
        await pool.snapshot(world.ada, vm.id, "first")
    for row in await pool.list_snapshots(world.ada, "box"):
        if row.name == "second":
            await pool.delete_snapshot(world.ada, "box", row.id)
    if not await pool.templates.list(world.ada):
        await pool.publish(world.ada, "box", "base")
    await pool.stop_vm(world.ada, "still")


async def test_a_create_that_was_cut_short_is_finished_under_its_own_name(world: World) -> None:
    crash = Crash(world.host, 2, "half")
    assert await die_in(world, create, crash)
    assert world.host.machines[MachineKey(1)].half
    async with world.server() as pool:
        vm = await world.until_state(pool, 1, VMState.RUNNING)
        assert vm.name == "new" and not world.host.machines[MachineKey(1)].half
