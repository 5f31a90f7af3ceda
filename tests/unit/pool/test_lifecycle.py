from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from vmpool.backends.base import MachineKey, MachineState
from vmpool.domain import ExecutionState, Limits, VMState
from vmpool.errors import (
    InvalidRequest,
    NameTaken,
    QuotaExceeded,
    TemplateNotFound,
    Unsupported,
    VMNotFound,
    VMNotRunning,
)
from vmpool.pool.requests import VMRequest
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import World, code, command, pending, vm_request

pytestmark = pytest.mark.anyio


async def test_a_new_vm_runs_and_carries_what_the_backend_said(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request(limits=Limits(cpu=0.5, memory=256, disk=512)))
    machine = world.host.machines[MachineKey(vm.id)]
    assert (vm.state, vm.container_id) == (VMState.RUNNING, machine.container_id)
    assert (vm.backend, vm.isolation, vm.warnings) == ("fake", "none", machine.seen().warnings)
    assert machine.spec.limits == Limits(cpu=0.5, memory=256, disk=512)
    assert machine.spec.hostname == "test-vm"
    assert vm.started_at is not None and vm.stopped_at is None
    assert await world.store.vms.get(world.ada, vm.id) == vm


async def test_a_vm_answers_to_its_id_and_its_name_and_only_to_its_owner(
    world: World, pool: VMPoolManager
) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    assert await pool.get_vm(world.ada, vm.id) == vm
    assert await pool.get_vm(world.ada, str(vm.id)) == vm
    assert await pool.get_vm(world.ada, "test-vm") == vm
    for user, reference in (
        (world.bob, vm.id),
        (world.bob, "test-vm"),
        (world.ada, 99),
        (world.ada, "9" * 30),
    ):
        with pytest.raises(VMNotFound):
            await pool.get_vm(user, reference)


async def test_names_are_unique_per_user_and_free_again_after_deletion(
    world: World, pool: VMPoolManager
) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.create_vm(world.bob, vm_request())
    with pytest.raises(NameTaken):
        await pool.create_vm(world.ada, vm_request())
    await pool.delete_vm(world.ada, vm.id)
    again = await pool.create_vm(world.ada, vm_request())
    assert again.id > vm.id


def changed_request(change: dict[str, object]) -> VMRequest:
    return replace(vm_request(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": "Upper"}),
        ("name", {"name": "123"}),
        ("name", {"name": "-dash"}),
        ("name", {"name": "dash-"}),
        ("name", {"name": "a" * 64}),
        ("name", {"name": ""}),
        ("language", {"language": "cobol"}),
        ("cpu_limit", {"limits": Limits(cpu=0)}),
        ("cpu_limit", {"limits": Limits(cpu=5)}),
        ("cpu_limit", {"limits": Limits(cpu=float("nan"))}),
        ("memory_limit", {"limits": Limits(memory=1)}),
        ("memory_limit", {"limits": Limits(memory=100_001)}),
        ("disk_limit", {"limits": Limits(disk=0)}),
        ("process_limit", {"limits": Limits(processes=1)}),
        ("env.A=B", {"env": {"A=B": "1"}}),
        ("env.A", {"env": {"A": "\0"}}),
        ("ttl", {"ttl": 0}),
        ("idle_timeout", {"idle_timeout": -1}),
        ("network", {"network": "wifi"}),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_made(
    world: World, pool: VMPoolManager, field: str, change: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await pool.create_vm(world.ada, changed_request(change))
    assert refusal.value.context["field"] == field
    assert not world.keys and not await pool.list_vms(world.ada)


async def test_what_the_backend_lacks_is_refused(world: World, pool: VMPoolManager) -> None:
    with pytest.raises(TemplateNotFound) as refusal:
        await pool.create_vm(world.ada, vm_request(template="fortran"))
    assert refusal.value.message.startswith("no template 'fortran'; there is bash, c, cpp,")
    with pytest.raises(Unsupported):
        await pool.create_vm(world.ada, vm_request(network="full"))


async def test_a_language_may_be_named_by_an_alias(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request(language="JavaScript"))
    assert (vm.language, vm.template) == ("nodejs", "nodejs")


async def test_of_fifty_creates_at_once_exactly_ten_succeed(world: World, pool: VMPoolManager) -> None:
    refused = 0

    async def one(number: int) -> None:
        nonlocal refused
        try:
            await pool.create_vm(world.ada, vm_request(f"vm-{number}"))
        except QuotaExceeded:
            refused += 1

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(one, number)
    assert (len(await pool.list_vms(world.ada)), len(world.keys), refused) == (10, 10, 40)
    assert (await pool.create_vm(world.bob, vm_request())).state is VMState.RUNNING


async def test_lists_are_newest_first_and_page_by_id(world: World, pool: VMPoolManager) -> None:
    ids = [(await pool.create_vm(world.ada, vm_request(f"vm-{n}"))).id for n in range(4)]
    await pool.create_vm(world.bob, vm_request())
    assert [vm.id for vm in await pool.list_vms(world.ada)] == ids[::-1]
    page = await pool.list_vms(world.ada, limit=2, before_id=ids[3])
    assert [vm.id for vm in page] == [ids[2], ids[1]]


async def test_a_stopped_vm_keeps_its_files_and_runs_nothing(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.execute(world.ada, vm.id, command("echo kept > note"))
    stopped = await pool.stop_vm(world.ada, vm.id)
    assert (stopped.state, stopped.stopped_at is None) == (VMState.STOPPED, False)
    assert world.host.machines[MachineKey(vm.id)].seen().state is MachineState.STOPPED
    with pytest.raises(VMNotRunning):
        await pool.execute(world.ada, vm.id, command("cat note"))
    assert await pool.stop_vm(world.ada, vm.id) == stopped
    started = await pool.start_vm(world.ada, vm.id)
    assert (started.state, started.stopped_at) == (VMState.RUNNING, None)
    assert await pool.start_vm(world.ada, vm.id) == started
    execution = await pool.execute(world.ada, vm.id, command("cat note"))
    assert execution.outcome is not None and execution.outcome.output == "kept\n"


async def test_a_restart_keeps_files(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.execute(world.ada, vm.id, command("echo kept > note"))
    assert (await pool.restart_vm(world.ada, vm.id)).state is VMState.RUNNING
    await pool.stop_vm(world.ada, vm.id)
    assert (await pool.restart_vm(world.ada, vm.id)).state is VMState.RUNNING
    execution = await pool.execute(world.ada, vm.id, command("cat note"))
    assert execution.outcome is not None and execution.outcome.output == "kept\n"


async def test_a_deleted_vm_is_gone_and_its_history_stays(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    execution = await pool.execute(world.ada, vm.id, code("print(6 * 7)"))
    await pool.delete_vm(world.ada, vm.id)
    assert not world.keys
    for verb in (pool.get_vm, pool.delete_vm, pool.start_vm, pool.stop_vm, pool.status):
        with pytest.raises(VMNotFound):
            await verb(world.ada, vm.id)
    assert await pool.get_execution(world.ada, vm.id, execution.id) == execution
    assert [entry.data for entry in await pool.logs(world.ada, vm.id)] == ["42\n"]
    with pytest.raises(VMNotFound):
        await pool.logs(world.bob, vm.id)


@pytest.mark.parametrize(
    ("verb", "word"), [("stop_vm", "stopped"), ("delete_vm", "deleted"), ("restart_vm", "stopped")]
)
async def test_stop_and_delete_end_what_runs_and_say_so(
    world: World, pool: VMPoolManager, verb: str, word: str
) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    async with pending(pool.execute(world.ada, vm.id, command("echo begun; sleep 60; echo never"))) as run:
        await world.until_output(pool, vm.id, "begun")
        await getattr(pool, verb)(world.ada, vm.id)
    assert run.value.state is ExecutionState.LOST
    assert run.value.failure == f"ended because the VM was {word}"
    assert run.value.outcome is not None and run.value.outcome.output == "begun\n"
    assert await world.store.executions.running() == []
