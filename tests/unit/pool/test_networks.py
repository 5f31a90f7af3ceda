"""Brokers come and go with machines and servers; policies and what was used are rows."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from tests.unit.network.site import echo, serving
from vmpool.backends.base import MachineKey
from vmpool.backends.fake.network import FakeNetwork
from vmpool.domain import NetworkPolicy
from vmpool.network.rules import admissions
from vmpool.pool.settings import NetworkSettings
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, command, vm_request

pytestmark = pytest.mark.anyio

OPEN = replace(QUICK, network=NetworkSettings(admit=admissions("admit", ("127.0.0.0/8",)), log_entries=5))


async def inside(world: World, vm_id: int, generation: int = 1) -> FakeNetwork:
    """The network of a VM as its programs see it, once its agent listens."""
    agent = world.host.machines[MachineKey(vm_id, generation)].agent
    assert agent is not None
    with anyio.fail_after(5):
        while not agent.network.listen:  # noqa: ASYNC110 - as a program in the VM would
            await anyio.sleep(0.005)
    return agent.network


async def ask(network: FakeNetwork, port: int, host: str = "127.0.0.1") -> bytes:
    """What a program gets that sends 100 bytes through the proxy to an echo."""
    program = await network.open(listener="proxy")
    await program.send(f"CONNECT {host}:{port} HTTP/1.1\r\n\r\n".encode() + b"x" * 100)
    await program.send_eof()
    answer = b""
    with anyio.fail_after(5):
        try:
            async for chunk in program:
                answer += chunk
        except anyio.BrokenResourceError:
            answer += b"<reset>"
    return answer.partition(b"\r\n\r\n")[2] if b" 200 " in answer[:20] else answer


async def used(pool: VMPoolManager, world: World, vm_id: int) -> int:
    return (await pool.network(world.ada, vm_id)).bytes_used


async def test_a_new_server_judges_counts_and_logs_on(world: World) -> None:
    request = vm_request(network="filtered", network_policy=NetworkPolicy(deny=("127.0.0.2",), max_bytes=500))
    async with serving(echo) as port:
        async with world.server(OPEN) as pool:
            vm = await pool.create_vm(world.ada, request)
            assert await ask(await inside(world, vm.id), port) == b"x" * 100
            await anyio.sleep(0.05)
        async with world.server(OPEN) as pool:
            network = await inside(world, vm.id)
            assert await used(pool, world, vm.id) == 200
            assert b"403 Forbidden" in await ask(network, port, "127.0.0.2")
            assert await ask(network, port) == b"x" * 100
            await ask(network, port)  # to 500 and not further
            assert b"(max_bytes)" in await ask(network, port)
            entries = await pool.network_log(world.ada, vm.id)
            assert [entry.verdict for entry in entries] == ["refused", "cut", "allowed", "refused", "allowed"]
            assert 500 <= await used(pool, world, vm.id) <= 600


async def test_every_way_to_a_running_machine_opens_its_network(world: World) -> None:
    async with serving(echo) as port, world.server(OPEN) as pool:
        vm = await pool.create_vm(world.ada, vm_request(network="filtered"))
        await pool.stop_vm(world.ada, vm.id)
        await pool.start_vm(world.ada, vm.id)
        assert await ask(await inside(world, vm.id), port) == b"x" * 100
        kept = await pool.snapshot(world.ada, vm.id)
        await pool.restore(world.ada, vm.id, kept.id)
        assert await ask(await inside(world, vm.id, 2), port) == b"x" * 100
        world.host.machines[MachineKey(vm.id, 2)].agent.cut()  # type: ignore[union-attr]
        await pool.execute(world.ada, vm.id, command("echo on"))  # over a new connection
        assert await ask(await inside(world, vm.id, 2), port) == b"x" * 100


async def test_an_agent_that_knows_no_network_runs_on_without(world: World) -> None:
    async with world.server(OPEN) as pool:
        vm = await pool.create_vm(world.ada, vm_request(network="filtered"))
        await pool.stop_vm(world.ada, vm.id)
        world.host.machines[MachineKey(vm.id)].agent_generation = 1
        await pool.start_vm(world.ada, vm.id)
        ran = await pool.execute(world.ada, vm.id, command("echo on"))
        assert ran.outcome is not None
        assert ran.outcome.output == "on\n"


async def test_a_deleted_vms_broker_is_forgotten_and_its_counts_are_kept(world: World) -> None:
    async with serving(echo) as port, world.server(OPEN) as pool:
        vm = await pool.create_vm(world.ada, vm_request(network="filtered"))
        await ask(await inside(world, vm.id), port)
        await pool.delete_vm(world.ada, vm.id)
        entries = await pool.network_log(world.ada, vm.id)
        assert [entry.host for entry in entries] == ["127.0.0.1"]
        assert not pool._networks._brokers
        carried = next(one for one in pool.families() if one.name == "vmpool_network_bytes_total")
        assert [sample.value for sample in carried.samples] == [100, 100]
