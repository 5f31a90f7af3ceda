"""Other limits for a machine that is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.conformance.backends import KEY, Power, World
from tests.conformance.box import Box, limited, next_id, open_box, shell_spec
from tests.conformance.test_spares import BURNS, FORKS
from vmpool.agent import Output, open_client
from vmpool.backends.base import Backend, MachineSpec, MachineState, SupportsResize, SupportsSnapshot
from vmpool.errors import BackendFailed, Unsupported

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
host_kernel = pytest.mark.requires(Power.REAL_PROGRAMS, Power.HOST_KERNEL)


def able(backend: Backend) -> SupportsResize:
    assert isinstance(backend, SupportsResize)
    return backend


@asynccontextmanager
async def stopped_and_changed(box: Box, spec: MachineSpec) -> AsyncIterator[Box]:
    """The box after its machine was stopped, given other limits, and started."""
    await box.backend.stop(box.key)
    await able(box.backend).resize(box.key, spec)
    await box.backend.start(box.key)
    async with open_client(lambda: box.backend.dial(box.key)) as client:
        yield replace(box, client=client)


async def test_what_is_not_there_cannot_change(world: World, backend: Backend) -> None:
    assert "resize" in (await backend.describe()).capabilities
    with pytest.raises(BackendFailed):
        await able(backend).resize(KEY, world.spec())
    assert await backend.inspect(KEY) is None


async def test_a_machine_stays_what_it_is(world: World, backend: Backend) -> None:
    """Also one that an earlier server made, and one that is given what it has."""
    made = await backend.create(KEY, world.spec())
    await backend.stop(KEY)
    async with world.backend() as later:
        for spec in (limited(world.spec(), cpu=0.5, memory=300, processes=50), world.spec(), world.spec()):
            changed = await able(later).resize(KEY, spec)
            assert changed == replace(made, state=MachineState.STOPPED)
        assert (await later.start(KEY)).container_id == made.container_id


@host_kernel
async def test_limits_change_while_it_runs_and_while_it_is_stopped(world: World) -> None:
    async with open_box(world) as box:
        small = limited(world.spec(), cpu=0.5, memory=64, processes=20)
        large = limited(world.spec(), memory=400, processes=100)
        live = all("cgroup" in box.info.enforcement[name] for name in ("memory", "processes"))
        if live:
            await able(box.backend).resize(box.key, small)
            await _small(box)
            if "cgroup" in box.info.enforcement["cpu"]:
                assert float((await box.python(BURNS)).stdout) < 0.75
            await able(box.backend).resize(box.key, large)
            await _large(box)
        else:
            with pytest.raises(Unsupported, match="stop the VM"):
                await able(box.backend).resize(box.key, small)
        async with stopped_and_changed(box, small) as again:
            await _small(again)
        async with stopped_and_changed(box, large) as again:
            await _large(again)


async def _small(box: Box) -> None:
    assert (await box.python("bytearray(200 << 20)")).exit.exit_code != 0
    assert 0 < await box.figure(FORKS) < 20


async def _large(box: Box) -> None:
    assert (await box.python("bytearray(200 << 20)")).exit.exit_code == 0
    assert await box.figure(FORKS) == 60


@host_kernel
async def test_less_memory_than_is_in_use_is_refused_and_the_former_limit_holds(world: World) -> None:
    async with open_box(world, spec=limited(world.spec(), memory=256)) as box:
        if "cgroup v1" not in box.info.enforcement["memory"]:
            return  # version 2 makes room by ending a program
        hold = "x = b'x' * (120 << 20); print('has it', flush=True); import time; time.sleep(60)"
        holder = await box.client.start(next_id(), shell_spec(f'exec python3 -c "{hold}"'))
        async for event in holder.events():
            assert isinstance(event, Output)
            break
        with pytest.raises(BackendFailed):
            await able(box.backend).resize(box.key, limited(world.spec(), memory=64))
        assert (await box.python("bytearray(60 << 20)")).exit.exit_code == 0
        assert (await box.python("bytearray(300 << 20)")).exit.exit_code != 0


@host_kernel
async def test_a_disk_grows_while_it_is_stopped_and_never_shrinks(world: World) -> None:
    async with open_box(world, spec=limited(world.spec(), disk=32)) as box:
        how = box.info.enforcement["disk"]
        if how == "nothing" or "per file" in how:
            pytest.skip(f"{world.candidate.name}: nothing holds the disk limit here")
        larger = limited(world.spec(), disk=96)
        await box.output("echo kept > file")
        with pytest.raises(Unsupported, match="stop it first"):
            await able(box.backend).resize(box.key, larger)
        assert b"No space" in (await box.sh("head -c 60000000 /dev/zero > fill; rm fill")).stderr
        async with stopped_and_changed(box, larger) as again:
            assert await again.output("head -c 60000000 /dev/zero > fill; rm fill; cat file") == "kept"
            assert b"No space" in (await again.sh("head -c 120000000 /dev/zero > fill; rm fill")).stderr
            with pytest.raises(Unsupported, match="only grows"):
                await able(box.backend).resize(box.key, limited(world.spec(), disk=64))
            await able(box.backend).resize(box.key, larger)


@host_kernel
async def test_a_snapshot_of_a_smaller_disk_is_restored_to_the_limit_of_now(world: World) -> None:
    async with open_box(world, spec=limited(world.spec(), disk=32)) as box:
        how = box.info.enforcement["disk"]
        if how == "nothing" or "per file" in how:
            pytest.skip(f"{world.candidate.name}: nothing holds the disk limit here")
        assert isinstance(box.backend, SupportsSnapshot)
        await box.output("echo kept > file")
        await box.backend.snapshot(box.key, "small")
        await box.backend.destroy(box.key)
    async with open_box(world, spec=limited(world.spec(snapshot="small"), disk=96)) as box:
        assert not any("disk" in warning for warning in box.machine.warnings)
        assert await box.output("head -c 60000000 /dev/zero > fill; rm fill; cat file") == "kept"
        assert b"No space" in (await box.sh("head -c 120000000 /dev/zero > fill; rm fill")).stderr
