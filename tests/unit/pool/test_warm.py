"""Interpreters are warmed behind everybody's back."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from vmpool.backends.base import MachineKey
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, command, eventually, vm_request

pytestmark = pytest.mark.anyio


def warmed(world: World, vm_id: int) -> dict[str, int]:
    agent = world.host.machines[MachineKey(vm_id)].agent
    assert agent is not None
    return agent.warmed


async def until_warm(world: World, vm_id: int) -> None:
    async def is_warm() -> bool:
        return warmed(world, vm_id) == {"python": QUICK.warm_spares}

    await eventually(is_warm)


async def test_a_python_vm_is_warmed_after_every_start(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await until_warm(world, vm.id)
    await pool.restart_vm(world.ada, vm.id)
    await until_warm(world, vm.id)


async def test_it_waits_for_what_is_already_running(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    await pool.execute(world.ada, vm.id, command("sleep 0.2"))
    assert warmed(world, vm.id) == {}
    await until_warm(world, vm.id)


async def test_a_new_server_warms_what_it_finds(world: World) -> None:
    async with world.server(replace(QUICK, warm_spares=0)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        await anyio.sleep(0.2)
        assert warmed(world, vm.id) == {}
    async with world.server():
        await until_warm(world, vm.id)


async def test_other_languages_are_left_cold(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request(language="go"))
    await anyio.sleep(0.2)
    assert warmed(world, vm.id) == {}
