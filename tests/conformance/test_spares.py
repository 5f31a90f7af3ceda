"""A machine that was made before anybody asked becomes somebody's."""

from __future__ import annotations

import pytest

from tests.captured import Captured, run
from tests.conformance.backends import KEY, Power, World
from tests.conformance.box import limited, next_id, shell_spec, source_spec
from vmpool.agent import open_client
from vmpool.backends.base import Backend, MachineKey, MachineState, SupportsSpares
from vmpool.domain import LANGUAGES
from vmpool.errors import BackendFailed

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180), pytest.mark.requires(Power.SPARES)]
host_kernel = pytest.mark.requires(Power.REAL_PROGRAMS, Power.HOST_KERNEL)
SPARE = MachineKey.spare(77)


def able(backend: Backend) -> SupportsSpares:
    assert isinstance(backend, SupportsSpares)
    return backend


async def output(backend: Backend, key: MachineKey, script: str) -> str:
    async with open_client(lambda: backend.dial(key)) as client:
        captured = await run(client, next_id(), shell_spec(script))
    assert captured.exit.exit_code == 0, captured
    return captured.stdout.decode().strip()


async def python(backend: Backend, code: str) -> Captured:
    number = next_id()
    async with open_client(lambda: backend.dial(KEY)) as client:
        return await run(client, number, source_spec(LANGUAGES["python"], code, number))


async def test_the_backend_says_so(backend: Backend) -> None:
    assert "spares" in (await backend.describe()).capabilities


async def test_a_spare_is_a_machine_of_nobodys(world: World, backend: Backend) -> None:
    spare = await backend.create(SPARE, world.spec(hostname="spare"))
    assert spare.key.is_spare
    assert await backend.list() == [spare]
    assert await output(backend, SPARE, "hostname") == "spare"
    assert await able(backend).outdated_spares() == []
    await backend.destroy(SPARE)
    assert await backend.list() == []


@pytest.mark.parametrize("settled", [False, True])
async def test_once_claimed_only_its_new_key_leads_to_it(
    world: World, backend: Backend, settled: bool
) -> None:
    spare = await backend.create(SPARE, world.spec(hostname="spare"))
    claimed = await able(backend).claim(SPARE, KEY, world.spec(hostname="mine"))
    if settled:
        await able(backend).settle(claimed.container_id, KEY, world.spec(hostname="mine"))
    assert (claimed.key, claimed.state) == (KEY, MachineState.RUNNING)
    assert (claimed.container_id, claimed.warnings) == (spare.container_id, spare.warnings)
    assert await backend.inspect(KEY) == claimed
    assert await backend.inspect(SPARE) is None
    await backend.destroy(SPARE)
    assert await backend.list() == [claimed]
    assert await backend.create(KEY, world.spec(hostname="mine")) == claimed
    assert await output(backend, KEY, "hostname; cat /etc/hostname 2>/dev/null || hostname") == "mine\nmine"
    assert (await backend.usage(KEY)).processes is not None
    await backend.destroy(KEY)
    assert await backend.list() == []


@pytest.mark.parametrize("settled", [False, True])
async def test_a_start_keeps_what_the_claim_made_of_it(world: World, backend: Backend, settled: bool) -> None:
    await backend.create(SPARE, world.spec(hostname="spare"))
    spec = world.spec(hostname="mine")
    claimed = await able(backend).claim(SPARE, KEY, spec)
    if settled:
        await able(backend).settle(claimed.container_id, KEY, spec)
    await output(backend, KEY, "echo kept > /home/user/file")
    await backend.stop(KEY)
    assert [machine.state for machine in await backend.list()] == [MachineState.STOPPED]
    started = await backend.start(KEY)
    await able(backend).settle(started.container_id, KEY, spec)
    assert await output(backend, KEY, "cat /home/user/file; hostname") == "kept\nmine"


async def test_what_the_next_server_sees_of_an_open_claim(world: World) -> None:
    spec = world.spec(hostname="mine")
    async with world.backend() as first:
        await first.create(SPARE, world.spec(hostname="spare"))
        claimed = await able(first).claim(SPARE, KEY, spec)
        await output(first, KEY, "echo kept > /home/user/file")
    async with world.backend() as second:
        # Either the claim is whole at once, or the spare is there with the id the row has.
        assert [machine.container_id for machine in await second.list()] == [claimed.container_id]
        await able(second).settle(claimed.container_id, KEY, spec)
        assert await second.list() == [claimed]
        assert await output(second, KEY, "cat /home/user/file; hostname") == "kept\nmine"
        await able(second).settle(claimed.container_id, KEY, spec)
    async with world.backend() as third:
        assert await third.list() == [claimed]


async def test_a_spare_that_does_not_run_cannot_be_claimed(world: World, backend: Backend) -> None:
    with pytest.raises(BackendFailed):
        await able(backend).claim(SPARE, KEY, world.spec())
    await backend.create(SPARE, world.spec())
    await backend.stop(SPARE)
    with pytest.raises(BackendFailed):
        await able(backend).claim(SPARE, KEY, world.spec())
    assert await backend.inspect(KEY) is None


async def test_settling_what_is_no_more_is_a_success(world: World, backend: Backend) -> None:
    machine = await backend.create(KEY, world.spec())
    await backend.destroy(KEY)
    await able(backend).settle(machine.container_id, KEY, world.spec())
    assert await backend.list() == []


async def test_what_can_be_claimed(world: World, backend: Backend) -> None:
    made = world.spec(hostname="spare")
    asked = limited(world.spec(hostname="mine", labels={"a": "b"}, env={"A": "b"}), memory=100, cpu=0.5)
    assert able(backend).can_claim(made, asked)
    assert not able(backend).can_claim(made, world.spec(template="bash"))
    assert not able(backend).can_claim(made, world.spec(snapshot="one"))


@host_kernel
@pytest.mark.parametrize("settled", [False, True])
async def test_the_limits_are_those_of_the_claim(world: World, backend: Backend, settled: bool) -> None:
    made, spec = world.spec(), limited(world.spec(), memory=64, cpu=0.5, processes=20)
    await backend.create(SPARE, made)
    claimed = await able(backend).claim(SPARE, KEY, spec)
    if settled:
        await able(backend).settle(claimed.container_id, KEY, spec)
    assert (await python(backend, "bytearray(200 << 20)")).exit.exit_code != 0
    forked = await python(backend, FORKS)
    assert 0 < int(forked.stdout) < 20, forked
    used = await python(backend, BURNS)
    assert float(used.stdout) < 0.75, used


@host_kernel
async def test_larger_limits_than_it_was_made_with(world: World, backend: Backend) -> None:
    spec = limited(world.spec(), memory=256, processes=100)
    await backend.create(SPARE, limited(world.spec(), memory=32, processes=10))
    claimed = await able(backend).claim(SPARE, KEY, spec)
    for _ in range(2):
        assert (await python(backend, "bytearray(100 << 20)")).exit.exit_code == 0
        assert int((await python(backend, FORKS)).stdout) == 60
        await able(backend).settle(claimed.container_id, KEY, spec)
        await backend.stop(KEY)
        await backend.start(KEY)


FORKS = """
import os, signal, time
made = []
try:
    for _ in range(60):
        pid = os.fork()
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        made.append(pid)
except OSError:
    pass
print(len(made))
for pid in made:
    os.kill(pid, signal.SIGKILL)
"""
"""Prints how many children it could have at once."""

BURNS = """
import time
began, spent = time.monotonic(), time.process_time()
while time.monotonic() - began < 1.5:
    pass
print((time.process_time() - spent) / (time.monotonic() - began))
"""
"""Prints the share of one core it got."""
