"""The named faults do what their names say."""

from __future__ import annotations

import anyio
import pytest

from tests.captured import run
from vmpool.agent import ProcessSpec, open_client
from vmpool.backends.base import MachineKey, MachineSpec, MachineState
from vmpool.backends.fake import (
    Fail,
    FakeBackend,
    FakeHost,
    ForgetOnRestart,
    Hold,
    LoseAfterCreate,
    Never,
    Slow,
)
from vmpool.errors import BackendFailed, BackendUnreachable

pytestmark = pytest.mark.anyio
KEY = MachineKey(1)
SPEC = MachineSpec("box", "python")


async def test_slow() -> None:
    async with FakeBackend(create=Slow(0.2)) as backend:
        began = anyio.current_time()
        await backend.create(KEY, SPEC)
        assert anyio.current_time() - began >= 0.2


async def test_never_can_be_given_up_and_leaves_nothing() -> None:
    async with FakeBackend(create=Never()) as backend:
        with anyio.move_on_after(0.05) as scope:
            await backend.create(KEY, SPEC)
        assert scope.cancelled_caught
        assert await backend.inspect(KEY) is None


async def test_fail_so_many_times() -> None:
    async with FakeBackend(create=Fail(BackendFailed("no"), times=2)) as backend:
        for _ in range(2):
            with pytest.raises(BackendFailed):
                await backend.create(KEY, SPEC)
        assert (await backend.create(KEY, SPEC)).state is MachineState.RUNNING


async def test_lose_after_create_leaves_the_machine() -> None:
    async with FakeBackend(create=LoseAfterCreate(times=1)) as backend:
        with pytest.raises(BackendFailed) as caught:
            await backend.create(KEY, SPEC)
        assert caught.value.dispatch == "outcome_unknown"
        assert [machine.key for machine in await backend.list()] == [KEY]


async def test_hold_shows_a_machine_being_created() -> None:
    hold = Hold()
    async with FakeBackend(create=hold) as backend, anyio.create_task_group() as tasks:
        tasks.start_soon(backend.create, KEY, SPEC)
        await hold.reached.wait()
        machine = await backend.inspect(KEY)
        assert machine is not None
        assert machine.state is MachineState.CREATING
        hold.release()


async def test_forget_on_restart() -> None:
    async with FakeHost() as host:
        async with FakeBackend(host=host) as first:
            await first.create(KEY, SPEC)
        async with FakeBackend(host=host) as second:
            assert len(await second.list()) == 1
        async with FakeBackend(ForgetOnRestart(), host=host) as third:
            assert await third.list() == []


async def test_what_a_host_can_do_to_a_machine() -> None:
    async with FakeHost() as host, FakeBackend(host=host) as backend:
        await backend.create(KEY, SPEC)
        await host.kill(KEY)
        machine = await backend.inspect(KEY)
        assert machine is not None
        assert machine.state is MachineState.STOPPED
        await host.vanish(KEY)
        assert await backend.inspect(KEY) is None
        await host.plant(KEY)
        await host.plant(MachineKey(2), half=True)
        assert [machine.state for machine in await backend.list()] == [
            MachineState.RUNNING,
            MachineState.CREATING,
        ]
        with pytest.raises(BackendFailed):
            await backend.start(MachineKey(2))
        assert (await backend.create(MachineKey(2), SPEC)).state is MachineState.RUNNING
        host.engine_up = False
        with pytest.raises(BackendUnreachable):
            await backend.list()


async def test_a_cut_stream_is_not_the_end_of_an_execution() -> None:
    async with FakeHost() as host, FakeBackend(host=host) as backend:
        await backend.create(KEY, SPEC)
        async with open_client(lambda: backend.dial(KEY)) as client, anyio.create_task_group() as tasks:

            async def cutter() -> None:
                for _ in range(5):
                    await anyio.sleep(0.02)
                    host.cut(KEY)

            tasks.start_soon(cutter)
            captured = await run(client, 1, ProcessSpec(("sh", "-c", "echo a; sleep 0.2; echo b")))
            assert captured.stdout == b"a\nb\n"


def test_a_verb_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="created"):
        FakeBackend(created=Never())
