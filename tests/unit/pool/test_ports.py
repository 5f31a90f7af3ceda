"""Connections into VMs, and who has a link to them."""

from __future__ import annotations

import json
import stat
from datetime import timedelta

import anyio
import pytest

from vmpool.backends.base import MachineKey
from vmpool.backends.fake.network import Program
from vmpool.domain import VM, NetworkMode, VMState
from vmpool.errors import NothingListens, ShareInvalid, TooManyConnections, VMNotFound, VMNotRunning
from vmpool.pool.shares import Link
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.store import utcnow

from .world import World, vm_request

pytestmark = pytest.mark.anyio


async def hello(program: Program) -> None:
    """Says it, and what it hears."""
    try:
        await program.send(b"hello ")
        async for piece in program:
            await program.send(piece)
        await program.aclose()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass


def listen(world: World, vm: VM, port: int = 8080) -> None:
    agent = world.host.machines[MachineKey(vm.id, vm.generation)].agent
    assert agent is not None
    agent.network.servers[port] = hello


@pytest.mark.parametrize("network", [NetworkMode.NONE, NetworkMode.FILTERED])
async def test_a_port_is_reached_whatever_the_network(world: World, network: NetworkMode) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request(network=network))
        listen(world, vm)
        stream = await pool.connect(world.ada, vm.name, 8080)
        await stream.send(b"you")
        await stream.send_eof()
        heard = b""
        with pytest.raises(anyio.EndOfStream):
            while True:
                heard += await stream.receive()
        assert heard == b"hello you"


async def test_what_is_not_reached(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        listen(world, vm)
        with pytest.raises(NothingListens, match="port 8081 in VM"):
            await pool.connect(world.ada, vm.id, 8081)
        with pytest.raises(VMNotFound):
            await pool.connect(world.bob, vm.id, 8080)
        await pool.stop_vm(world.ada, vm.id)
        with pytest.raises(VMNotRunning):
            await pool.connect(world.ada, vm.id, 8080)


async def test_connections_at_once_are_bounded(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        listen(world, vm)
        streams = [await pool.connect(world.ada, vm.id, 8080) for _ in range(128)]
        with pytest.raises(TooManyConnections) as refused:
            await pool.connect(world.ada, vm.id, 8080)
        assert refused.value.retry_after
        await streams.pop().aclose()
        await (await pool.connect(world.ada, vm.id, 8080)).aclose()


async def test_a_connection_ends_with_its_machine(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        listen(world, vm)
        stream = await pool.connect(world.ada, vm.id, 8080)
        assert await stream.receive() == b"hello "
        await pool.stop_vm(world.ada, vm.id)
        with anyio.fail_after(5), pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await stream.receive()


async def test_a_vm_whose_port_is_used_is_not_idle(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.pool.ports.USED_EVERY", 0.0)
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request(idle_timeout=1))
        listen(world, vm)
        stream = await pool.connect(world.ada, vm.id, 8080)
        await stream.receive()
        for _ in range(30):
            await anyio.sleep(0.05)
            await stream.send(b"x")
            assert await stream.receive() == b"x"
        assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING
        await world.until_state(pool, vm.id, VMState.STOPPED)  # open, and nothing moves


async def shared(world: World, pool: VMPoolManager, seconds: int = 60) -> tuple[VM, Link]:
    vm = await pool.create_vm(world.ada, vm_request())
    listen(world, vm)
    return vm, await pool.share(world.ada, vm.id, 8080, seconds)


async def test_a_link_opens_its_port_and_no_other(world: World) -> None:
    async with world.server() as pool:
        vm, link = await shared(world, pool)
        stream = await pool.visit(link.label, link.token)
        assert await stream.receive() == b"hello "
        other = await pool.create_vm(world.ada, vm_request("other"))
        elsewhere = [
            await pool.share(world.ada, vm.id, 8081, 60),
            await pool.share(world.ada, other.id, 8080, 60),
        ]
        for one in elsewhere:
            assert pool.visited(one.label, one.token) is not None
            assert pool.visited(one.label, link.token) is None
            assert pool.visited(link.label, one.token) is None
        for label in ("", "www", link.label[:-1] + ("0" if link.label[-1] != "0" else "1")):
            assert pool.visited(label, link.token) is None
            with pytest.raises(ShareInvalid):
                await pool.visit(label, link.token)
        with pytest.raises(VMNotFound):
            await pool.share(world.bob, vm.id, 8080, 60)
        with pytest.raises(VMNotFound):
            await pool.revoke_shares(world.bob, vm.id, 8080)


async def test_a_link_expires(world: World) -> None:
    later = 0.0
    world.clock = lambda: utcnow() + timedelta(seconds=later)
    async with world.server() as pool:
        vm, link = await shared(world, pool, 60)
        assert pool.visited(link.label, link.token) == (await pool.get_vm(world.ada, vm.id), 8080)
        later = 50
        assert pool.visited(link.label, link.token) is not None
        later = 60
        assert pool.visited(link.label, link.token) is None


async def test_links_outlive_the_server_and_what_was_revoked_stays_so(world: World) -> None:
    async with world.server() as pool:
        vm, link = await shared(world, pool)
        again = await pool.share(world.ada, vm.id, 8080, 60)
        kept = await pool.share(world.ada, vm.id, 9090, 60)
        file = world.state_dir / "shares.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        await pool.revoke_shares(world.ada, vm.id, 8080)
        assert [pool.visited(one.label, one.token) is None for one in (link, again, kept)] == [
            True,
            True,
            False,
        ]
    async with world.server() as pool:
        fresh = await pool.share(world.ada, vm.id, 8080, 60)
        every = (link, again, kept, fresh)
        assert [pool.visited(one.label, one.token) is None for one in every] == [True, True, False, False]
        assert fresh.label == link.label
        await pool.stop_vm(world.ada, vm.id)
        with pytest.raises(VMNotRunning):
            await pool.visit(kept.label, kept.token)
        await pool.start_vm(world.ada, vm.id)
        await pool.delete_vm(world.ada, vm.id)
        assert [pool.visited(one.label, one.token) for one in every] == [None] * 4
        another = await pool.create_vm(world.ada, vm_request("another"))
        await pool.revoke_shares(world.ada, another.id, 1)
        assert list(json.loads(file.read_text())["revoked"]) == [
            f"{another.id}/1"
        ]  # and none of the deleted one


async def test_a_link_of_another_servers_key_is_none(world: World) -> None:
    async with world.server() as pool:
        _, link = await shared(world, pool)
    (world.state_dir / "shares.json").unlink()
    async with world.server() as pool:
        assert pool.visited(link.label, link.token) is None
