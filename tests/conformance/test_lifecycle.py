"""Every verb in every condition, as the table in `vmpool.backends.base` has it."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from tests.captured import run
from tests.conformance.backends import KEY, Power, World
from tests.conformance.box import next_id, shell_spec
from vmpool.agent import open_client
from vmpool.backends.base import Backend, MachineKey, MachineState, Usage
from vmpool.errors import (
    AgentUnreachable,
    BackendFailed,
    BackendUnreachable,
    IsolationUnavailable,
    SnapshotNotFound,
    TemplateNotFound,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
OTHER = MachineKey(2)


async def says(backend: Backend, key: MachineKey, script: str = "echo yes") -> bytes:
    async with open_client(lambda: backend.dial(key)) as client:
        return (await run(client, next_id(), shell_spec(script))).stdout


async def test_what_it_is(world: World, backend: Backend) -> None:
    info = await backend.describe()
    assert info.name == backend.name
    assert info.version
    assert info.isolation in info.isolations
    assert info.grade
    assert "python" in info.templates
    assert info.enforcement.keys() == {"cpu", "memory", "disk", "processes", "network"}


async def test_a_wall_it_has_not_is_refused(world: World, backend: Backend) -> None:
    with pytest.raises(IsolationUnavailable):
        await backend.create(KEY, replace(world.spec(), isolation="microvm"))
    assert await backend.list() == []


async def test_never_created(backend: Backend) -> None:
    assert await backend.inspect(KEY) is None
    assert await backend.list() == []
    with pytest.raises(BackendFailed):
        await backend.start(KEY)
    with pytest.raises(BackendFailed):
        await backend.stop(KEY)
    await backend.destroy(KEY)
    with pytest.raises(AgentUnreachable):
        await backend.dial(KEY)
    assert await backend.usage(KEY) == Usage()


async def test_running(world: World, backend: Backend) -> None:
    created = await backend.create(KEY, world.spec())
    assert created.key == KEY
    assert created.state is MachineState.RUNNING
    assert created.container_id
    assert created.isolation == (await backend.describe()).isolation
    again = await backend.create(KEY, world.spec())
    assert again.container_id == created.container_id
    assert await backend.inspect(KEY) == created
    assert await backend.start(KEY) == created
    assert await backend.list() == [created]
    assert await says(backend, KEY) == b"yes\n"
    assert (await backend.usage(KEY)).processes is not None


async def test_stopped(world: World, backend: Backend) -> None:
    await backend.create(KEY, world.spec())
    await backend.stop(KEY)
    stopped = await backend.inspect(KEY)
    assert stopped is not None
    assert stopped.state is MachineState.STOPPED
    assert [machine.state for machine in await backend.list()] == [MachineState.STOPPED]
    await backend.stop(KEY)
    with pytest.raises(AgentUnreachable):
        await backend.dial(KEY)
    assert (await backend.usage(KEY)).processes in (None, 0)
    started = await backend.start(KEY)
    assert started.state is MachineState.RUNNING
    assert await says(backend, KEY) == b"yes\n"
    await backend.stop(KEY)
    created = await backend.create(KEY, world.spec())
    assert created.state is MachineState.RUNNING
    assert await says(backend, KEY) == b"yes\n"


async def test_being_created(world: World, backend: Backend) -> None:
    """The others wait for it or see it as being created; there is one machine in the end."""
    seen = set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend.create, KEY, world.spec())
        await anyio.lowlevel.checkpoint()
        for _ in range(200):
            machine = await backend.inspect(KEY)
            if machine is not None:
                seen.add(machine.state)
                if machine.state is MachineState.RUNNING:
                    break
            await anyio.sleep(0.01)
        other = await backend.create(KEY, world.spec())
    assert seen <= {MachineState.CREATING, MachineState.RUNNING}
    assert await backend.inspect(KEY) == other
    assert len(await backend.list()) == 1


@pytest.mark.parametrize("verb", ["destroy", "stop", "start"])
async def test_a_verb_during_creation_waits(world: World, backend: Backend, verb: str) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backend.create, KEY, world.spec())
        await anyio.sleep(0.001)
        with anyio.fail_after(30):
            if verb == "destroy":
                await backend.destroy(KEY)
            elif verb == "stop":
                await backend.stop(KEY)
            else:
                await backend.start(KEY)
    machine = await backend.inspect(KEY)
    if verb == "destroy":
        assert machine is None
    else:
        assert machine is not None
        assert machine.state is (MachineState.STOPPED if verb == "stop" else MachineState.RUNNING)


@pytest.mark.parametrize("after", [0.0, 0.005, 0.02, 0.05, 0.1, 0.2])
async def test_a_cancelled_creation_leaves_nothing(world: World, backend: Backend, after: float) -> None:
    with anyio.move_on_after(after) as scope:
        await backend.create(KEY, world.spec())
    if scope.cancelled_caught:
        machine = await backend.inspect(KEY)
        assert machine is None or machine.state is MachineState.RUNNING
    await backend.destroy(KEY)
    created = await backend.create(KEY, world.spec())
    assert created.state is MachineState.RUNNING
    assert await says(backend, KEY) == b"yes\n"


async def test_a_failed_creation_leaves_nothing(world: World, backend: Backend) -> None:
    with pytest.raises(TemplateNotFound):
        await backend.create(KEY, world.spec(template="cobol"))
    with pytest.raises(SnapshotNotFound):
        await backend.create(KEY, world.spec(snapshot="snapshot-none"))
    assert await backend.inspect(KEY) is None
    assert await backend.list() == []


async def test_ten_at_once(world: World, backend: Backend) -> None:
    async def make(number: int) -> None:
        key = MachineKey(number)
        await backend.create(key, world.spec(hostname=f"box-{number}"))
        assert await says(backend, key, f"echo {number}") == f"{number}\n".encode()

    async with anyio.create_task_group() as tasks:
        for number in range(1, 11):
            tasks.start_soon(make, number)
    assert sorted(machine.key.vm_id for machine in await backend.list()) == list(range(1, 11))
    async with anyio.create_task_group() as tasks:
        for number in range(1, 11):
            tasks.start_soon(backend.destroy, MachineKey(number))
    assert await backend.list() == []


async def test_one_key_at_once_is_one_machine(world: World, backend: Backend) -> None:
    made = []

    async def make() -> None:
        made.append(await backend.create(KEY, world.spec()))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(make)
    assert len({machine.container_id for machine in made}) == 1
    assert len(await backend.list()) == 1


async def test_two_generations_stand_beside_one_another(world: World, backend: Backend) -> None:
    second = MachineKey(KEY.vm_id, 2)
    await backend.create(KEY, world.spec())
    await backend.create(second, world.spec())
    await says(backend, KEY, "echo first > f")
    assert await says(backend, second, "cat f || echo none") == b"none\n"
    await backend.destroy(KEY)
    assert [machine.key for machine in await backend.list()] == [second]
    assert await says(backend, second) == b"yes\n"


async def test_made_earlier(world: World) -> None:
    """Another server process finds, dials, stops, starts and destroys what the first one made."""
    async with world.backend() as first:
        created = await first.create(KEY, world.spec())
        await first.create(OTHER, world.spec())
        await says(first, KEY, "echo kept > f")
        async with open_client(lambda: first.dial(KEY)) as client:
            await client.start(77, shell_spec("sleep 1; echo late"))
    async with world.backend() as second:
        assert await second.inspect(KEY) == created
        assert {machine.key for machine in await second.list()} == {KEY, OTHER}
        async with open_client(lambda: second.dial(KEY)) as client:
            process = await client.attach(77)
            data = [event.data async for event in process.events() if hasattr(event, "data")]
            assert b"".join(data) == b"late\n"
        assert (await second.create(KEY, world.spec())).container_id == created.container_id
        assert (await second.usage(KEY)).processes is not None
        await second.stop(KEY)
    async with world.backend() as third:
        stopped = await third.inspect(KEY)
        assert stopped is not None
        assert stopped.state is MachineState.STOPPED
        await third.start(KEY)
        assert await says(third, KEY, "cat f") == b"kept\n"
        await third.destroy(KEY)
        await third.destroy(OTHER)
    async with world.backend() as fourth:
        assert await fourth.list() == []


async def test_two_servers_at_once_do_not_see_each_others_pool(world: World) -> None:
    async with world.candidate.open_world() as elsewhere:
        async with world.backend() as ours, elsewhere.backend() as theirs:
            await ours.create(KEY, world.spec())
            assert await theirs.list() == []
            assert await theirs.inspect(KEY) is None
            await theirs.create(KEY, elsewhere.spec())
            await says(theirs, KEY, "echo theirs > f")
            assert await says(ours, KEY, "cat f || echo none") == b"none\n"
            await theirs.destroy(KEY)
            assert await says(ours, KEY) == b"yes\n"


async def test_a_dead_agent_is_a_stopped_machine(world: World, backend: Backend) -> None:
    await backend.create(KEY, world.spec())
    await says(backend, KEY, "echo kept > f")
    async with open_client(lambda: backend.dial(KEY)) as client:
        await client.shutdown(0.1)
    with anyio.fail_after(20):
        while True:
            machine = await backend.inspect(KEY)
            if machine is not None and machine.state is MachineState.STOPPED:
                break
            await anyio.sleep(0.02)
    await backend.start(KEY)
    assert await says(backend, KEY, "cat f") == b"kept\n"


async def test_destroy_while_it_is_in_use(world: World, backend: Backend) -> None:
    await backend.create(KEY, world.spec())
    async with open_client(lambda: backend.dial(KEY), patience=2) as client:
        process = await client.start(1, shell_spec("echo begun; sleep 60"))
        await backend.destroy(KEY)
        with pytest.raises(AgentUnreachable) as caught:
            [event async for event in process.events()]
        assert caught.value.dispatch == "outcome_unknown"
    assert await backend.inspect(KEY) is None


@pytest.mark.requires(Power.ENGINE)
async def test_no_engine(world: World) -> None:
    assert world.unreachable is not None
    with pytest.raises(BackendUnreachable):
        async with world.unreachable() as backend:
            await backend.create(KEY, world.spec())
