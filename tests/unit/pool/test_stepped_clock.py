"""The host's clock is set, forwards or backwards: nothing is deleted, ended or forgotten for that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from vmpool.backends.fake import FakeHost
from vmpool.domain import ExecutionState, VMState
from vmpool.pool import expiry
from vmpool.store import open_store, utcnow

from .test_reconciler import ignoring
from .world import QUICK, World, command, eventually, vm_request

pytestmark = pytest.mark.anyio

ROUNDS = 10 * QUICK.expire_every
"""Seconds in which the expiry loop looks several times."""


class SteppedClock:
    """The real time, after somebody set the clock."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def __call__(self) -> datetime:
        return utcnow() + self._offset

    def step(self, **by: float) -> None:
        self._offset += timedelta(**by)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def world(clock: SteppedClock, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    async with FakeHost() as host, open_store(f"sqlite:///{tmp_path / 'vmpool.db'}", clock=clock) as store:
        ada = await store.users.ensure("ada", admin=False)
        bob = await store.users.ensure("bob", admin=False)
        yield World(host, store, tmp_path, ada.id, bob.id, clock)


@pytest.mark.parametrize("hours", [-2, 2])
async def test_what_an_earlier_server_started_is_followed_to_its_end(
    world: World, clock: SteppedClock, hours: float
) -> None:
    """Also past what is left of its timeout by the clock; the agent is who enforces that."""
    settings = replace(QUICK, backstop=0.05)
    async with world.server(settings) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ignoring, pool, world.ada, vm.id, "echo one; sleep 0.5; echo two")
            await world.until_output(pool, vm.id, "one")
            tasks.cancel_scope.cancel()
    clock.step(hours=hours)
    async with world.server(settings) as pool:
        await eventually(world.nothing_runs)
        (execution,) = await pool.list_executions(world.ada, vm.id)
        assert execution.state is ExecutionState.FINISHED
        assert execution.outcome is not None and execution.outcome.output == "one\ntwo\n"


async def test_no_vm_is_deleted_or_stopped_before_its_time(world: World, clock: SteppedClock) -> None:
    async with world.server() as pool:
        lives = await pool.create_vm(world.ada, vm_request("lives", ttl=3600))
        idles = await pool.create_vm(world.ada, vm_request("idles", idle_timeout=3600))
        await anyio.sleep(ROUNDS)
        clock.step(hours=2)
        await anyio.sleep(ROUNDS)
        for vm in (lives, idles):
            assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING


async def test_a_vm_ends_in_its_time_though_the_clock_was_set_back(world: World, clock: SteppedClock) -> None:
    async with world.server() as pool:
        lives = await pool.create_vm(world.ada, vm_request("lives", ttl=1))
        idles = await pool.create_vm(world.ada, vm_request("idles", idle_timeout=1))
        await anyio.sleep(ROUNDS)
        clock.step(hours=-2)
        await world.until_state(pool, idles.id, VMState.STOPPED)
        assert lives.id not in [vm.id for vm in await pool.list_vms(world.ada)]


async def test_no_history_is_removed_before_its_time(
    world: World, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "PRUNE_EVERY", 0.0)
    async with world.server(replace(QUICK, keep_age=3600)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await pool.execute(world.ada, vm.id, command("echo kept"))
        clock.step(days=400)
        await anyio.sleep(ROUNDS)
        assert len(await pool.list_executions(world.ada, vm.id)) == 1


async def test_how_long_a_lost_program_ran_is_not_told_by_the_clock(
    world: World, clock: SteppedClock
) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ignoring, pool, world.ada, vm.id, "echo one; sleep 60")
            await world.until_output(pool, vm.id, "one")
            clock.step(hours=5)
            await pool.stop_vm(world.ada, vm.id)
        (execution,) = await pool.list_executions(world.ada, vm.id)
        assert execution.outcome is not None and execution.outcome.execution_time is not None
        assert 0 <= execution.outcome.execution_time < 3600
