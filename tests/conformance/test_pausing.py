"""VMs that are held with their memory, through a whole pool on every backend."""

from __future__ import annotations

import anyio
import pytest

from tests.conformance.backends import KEY, Power, World
from tests.conformance.pool import USER, Serve, ended, eventually, make, run, start, written
from vmpool.backends.base import Backend, MachineState, SupportsPause
from vmpool.domain import ExecutionRequest, VMState
from vmpool.errors import BackendFailed, Conflict, IllegalTransition
from vmpool.pool.vm_pool_manager import VMPoolManager

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
HELD_SECONDS = 1.5
NOTICES = """python3 -c "
import time
print('begun', flush=True)
last = time.monotonic()
while True:
    now = time.monotonic()
    if now - last > 1:
        print('was held', flush=True)
    last = now
    time.sleep(0.01)
" """
"""Has something in memory, and sees that it did not run for more than a second."""


async def state(pool: VMPoolManager) -> VMState:
    return (await pool.get_vm(USER, "box")).state


def able(backend: Backend) -> SupportsPause:
    assert isinstance(backend, SupportsPause)
    return backend


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_what_runs_is_held_and_goes_on_where_it_was(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        service = await start(pool, NOTICES)
        await written(pool, service, "begun")
        paused = await pool.pause_vm(USER, "box")
        assert paused.state is VMState.PAUSED == await state(pool)
        assert await pool.pause_vm(USER, "box") == paused
        assert (await pool.status(USER, "box")).usage.memory_bytes != 0
        await anyio.sleep(HELD_SECONDS)
        assert await state(pool) is VMState.PAUSED
        resumed = await pool.resume_vm(USER, "box")
        assert (resumed.state, resumed.started_at) == (VMState.RUNNING, paused.started_at)
        assert await pool.resume_vm(USER, "box") == resumed
        await written(pool, service, "was held")
        await pool.delete_vm(USER, "box")


async def test_using_it_lets_it_go_on(serve: Serve) -> None:
    async with serve() as pool:
        vm = await make(pool)
        await pool.pause_vm(USER, "box")
        assert await run(pool, "echo here > note; echo awake") == "awake\n"
        assert await state(pool) is VMState.RUNNING
        await pool.pause_vm(USER, "box")
        assert (await (await pool.files_of(USER, "box")).stat(b"note", follow=True)).size == 5
        assert await state(pool) is VMState.RUNNING
        await pool.pause_vm(USER, "box")
        assert (await pool.start_vm(USER, "box")).state is VMState.RUNNING
        service = await start(pool, "cat", stdin_open=True)
        await pool.pause_vm(USER, "box")
        await pool.controls.write_stdin(USER, "box", service.id, b"typed\n")
        await written(pool, service, "typed")
        await pool.delete_vm(USER, vm.id)


async def test_what_has_a_time_limit_is_not_held(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        execution = await pool.start_execution(
            USER, "box", ExecutionRequest(command="cat", timeout=60, background=True, stdin_open=True)
        )
        with pytest.raises(Conflict, match="time limit"):
            await pool.pause_vm(USER, "box")
        assert await state(pool) is VMState.RUNNING
        await pool.controls.cancel(USER, "box", execution.id)
        await pool.pause_vm(USER, "box")
        await pool.stop_vm(USER, "box")
        with pytest.raises(IllegalTransition):
            await pool.pause_vm(USER, "box")
        with pytest.raises(IllegalTransition):
            await pool.resume_vm(USER, "box")
        await pool.delete_vm(USER, "box")


async def test_it_stays_so_beyond_the_server(serve: Serve, world: World) -> None:
    async with serve() as pool:
        vm = await make(pool)
        service = await start(pool, "echo begun; cat", stdin_open=True)
        await written(pool, service, "begun")
        await pool.pause_vm(USER, "box")
    async with serve() as pool:
        assert await state(pool) is VMState.PAUSED
        async with world.backend() as looking:
            (machine,) = await looking.list()
            assert machine.state is MachineState.PAUSED
        await pool.resume_vm(USER, vm.id)

        async def followed() -> bool:
            return (await pool.status(USER, vm.id)).executions == 1

        await eventually(followed)
        await pool.controls.write_stdin(USER, "box", service.id, b"after\n", close=True)
        assert (await ended(pool, service)).state.value == "finished"
        await pool.delete_vm(USER, "box")


async def test_it_is_kept_stopped_and_deleted_as_it_is(serve: Serve, world: World) -> None:
    async with serve() as pool:
        await make(pool)
        await run(pool, "echo kept > note")
        await pool.pause_vm(USER, "box")
        await pool.snapshot(USER, "box", "held")
        assert await state(pool) is VMState.PAUSED
        async with world.backend() as looking:
            assert [machine.state for machine in await looking.list()] == [MachineState.PAUSED]
        (copy,) = await pool.fork(USER, "box", 1)
        said = await pool.execute(USER, copy.id, ExecutionRequest(command="cat note", timeout=30))
        assert said.outcome is not None and said.outcome.output == "kept\n"
        await pool.delete_vm(USER, copy.id)
        assert (await pool.stop_vm(USER, "box")).state is VMState.STOPPED
        assert (await pool.start_vm(USER, "box")).state is VMState.RUNNING
        assert await run(pool, "cat note") == "kept\n"
        await pool.pause_vm(USER, "box")
        restored = await pool.restore(USER, "box", "held")
        assert restored.state is VMState.RUNNING
        await pool.pause_vm(USER, "box")
        await pool.delete_vm(USER, "box")
        async with world.backend() as looking:
            assert await looking.list() == []


async def test_the_verbs_of_a_machine(world: World, backend: Backend) -> None:
    assert "pause" in (await backend.describe()).capabilities
    for verb in (able(backend).pause, able(backend).resume):
        with pytest.raises(BackendFailed):
            await verb(KEY)
    made = await backend.create(KEY, world.spec())
    await able(backend).resume(KEY)
    await able(backend).pause(KEY)
    await able(backend).pause(KEY)
    seen = await backend.inspect(KEY)
    assert seen is not None and seen.state is MachineState.PAUSED
    assert (await backend.create(KEY, world.spec())).container_id == made.container_id
    assert (await backend.start(KEY)).container_id == made.container_id
    await backend.stop(KEY)
    with pytest.raises(BackendFailed):
        await able(backend).pause(KEY)
    assert (await backend.start(KEY)).state is MachineState.RUNNING
    await able(backend).pause(KEY)
    await backend.destroy(KEY)
    assert await backend.inspect(KEY) is None
