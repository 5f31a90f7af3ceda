"""Interpreters are warmed behind everybody's back."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from vmpool.backends.base import MachineKey
from vmpool.domain.language import WarmStart
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, code, command, eventually, vm_request

pytestmark = pytest.mark.anyio


def warmed(world: World, vm_id: int) -> dict[str, int]:
    agent = world.host.machines[MachineKey(vm_id)].agent
    assert agent is not None
    return agent.warmed


async def until_warm(world: World, vm_id: int) -> None:
    async def is_warm() -> bool:
        return warmed(world, vm_id) == {"python": QUICK.warm_spares}

    await eventually(is_warm)


async def until_cold(world: World, vm_id: int) -> None:
    async def is_cold() -> bool:
        return not any(warmed(world, vm_id).values())

    await eventually(is_cold)


AT_CREATE = replace(QUICK, warm_start=WarmStart.CREATE)
LONG_ENOUGH = 0.2
"""Seconds after which an interpreter that was asked for is there."""


async def test_a_vm_is_warmed_by_its_first_execution_after_every_start(
    world: World, pool: VMPoolManager
) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    for _ in range(2):
        await pool.execute(world.ada, vm.id, command("true"))
        await anyio.sleep(LONG_ENOUGH)
        assert warmed(world, vm.id) == {}
        await pool.execute(world.ada, vm.id, code("pass"))
        await until_warm(world, vm.id)
        await pool.restart_vm(world.ada, vm.id)


async def test_it_waits_for_what_is_already_running(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    running = await pool.start_execution(world.ada, vm.id, replace(command("cat"), stdin_open=True))
    await pool.execute(world.ada, vm.id, code("pass"))
    await anyio.sleep(LONG_ENOUGH)
    assert warmed(world, vm.id) == {}
    await pool.controls.cancel(world.ada, vm.id, running.id)
    await until_warm(world, vm.id)


async def test_by_policy_it_is_warmed_when_it_is_made(world: World) -> None:
    async with world.server(AT_CREATE) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await until_warm(world, vm.id)
        await pool.restart_vm(world.ada, vm.id)
        await until_warm(world, vm.id)


async def test_an_idle_interpreter_is_ended_and_the_next_use_starts_it_again(world: World) -> None:
    async with world.server(replace(QUICK, warm_idle=0.3)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        for _ in range(2):
            await pool.execute(world.ada, vm.id, code("pass"))
            await until_warm(world, vm.id)
            await until_cold(world, vm.id)


async def test_what_runs_is_not_idle(world: World) -> None:
    async with world.server(replace(QUICK, warm_idle=1)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await pool.execute(world.ada, vm.id, code("pass"))
        await until_warm(world, vm.id)
        await pool.execute(world.ada, vm.id, command("sleep 1.5"))
        assert warmed(world, vm.id) == {"python": QUICK.warm_spares}


async def test_one_kept_for_ever(world: World) -> None:
    async with world.server(replace(AT_CREATE, warm_idle=0)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await until_warm(world, vm.id)
        await anyio.sleep(LONG_ENOUGH)
        assert warmed(world, vm.id) == {"python": QUICK.warm_spares}


async def test_a_new_server_warms_what_it_finds(world: World) -> None:
    async with world.server(replace(QUICK, warm_spares=0)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await pool.execute(world.ada, vm.id, code("pass"))
        await anyio.sleep(LONG_ENOUGH)
        assert warmed(world, vm.id) == {}
    async with world.server(AT_CREATE):
        await until_warm(world, vm.id)


async def test_a_new_server_ends_what_it_finds_idle(world: World) -> None:
    async with world.server(AT_CREATE) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await until_warm(world, vm.id)
    async with world.server(replace(QUICK, warm_idle=0.2)):
        await until_cold(world, vm.id)


async def test_other_languages_are_left_cold(world: World) -> None:
    async with world.server(AT_CREATE) as pool:
        vm = await pool.create_vm(world.ada, vm_request(language="go"))
        await anyio.sleep(LONG_ENOUGH)
        assert warmed(world, vm.id) == {}
