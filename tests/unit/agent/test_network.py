"""Network channels over the fake agent: what the broker relies on, whatever the guest does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest

from tests.unit.agent.agents import KEY, Agent
from vmpool.agent import Client, NetworkListen, open_client
from vmpool.agent.channel import AcceptedChannel
from vmpool.agent.messages import CHANNEL_WINDOW_BYTES
from vmpool.backends.base import MachineSpec
from vmpool.backends.fake import FakeBackend
from vmpool.backends.fake.network import FakeNetwork, Program
from vmpool.errors import AgentRefused, AgentTooOld

LISTEN = NetworkListen(proxy=3128, direct=(80, 443), resolver=True, channels=4)


class Box:
    """A fake machine, its network, and a client that has opened it."""

    def __init__(self, agent: Agent, client: Client, network: FakeNetwork) -> None:
        self.agent = agent
        self.client = client
        self.network = network

    async def accepted(self) -> AcceptedChannel:
        async with aclosing(self.client.guest_connections()) as connections:  # type: ignore[type-var]
            with anyio.fail_after(10):
                async for connection in connections:
                    return connection
        raise AssertionError("the client is closed")

    async def pair(self) -> tuple[Program, AcceptedChannel]:
        program = await self.network.open("example.org", 443)
        return program, await self.accepted()


@pytest.fixture
async def box(anyio_backend: str) -> AsyncIterator[Box]:
    async with FakeBackend() as backend:
        await backend.create(KEY, MachineSpec("box", "python"))

        async def restart() -> None:
            await backend.stop(KEY)
            await backend.start(KEY)

        agent = Agent(lambda: backend.dial(KEY), restart, "/home/user")
        async with open_client(agent.dial) as client:
            await client.open_network(LISTEN)
            machine = backend.host.machines[KEY]
            assert machine.agent is not None
            yield Box(agent, client, machine.agent.network)


async def read_all(stream: Program | AcceptedChannel) -> bytes:
    return b"".join([data async for data in stream])


async def test_what_a_connection_says_of_itself(box: Box) -> None:
    await box.network.open("example.org", 443)
    await box.network.open(listener="proxy")
    direct, proxy = await box.accepted(), await box.accepted()
    assert (direct.listener, direct.host, direct.port) == ("direct", "example.org", 443)
    assert (proxy.listener, proxy.host, proxy.port) == ("proxy", "", 0)


async def test_bytes_and_ends_go_both_ways(box: Box) -> None:
    program, connection = await box.pair()
    await program.send(b"question")
    await program.send_eof()
    assert await read_all(connection) == b"question"
    await connection.send(b"answer")
    await connection.aclose()
    assert await read_all(program) == b"answer"


async def test_much_more_than_the_window_arrives_whole(box: Box) -> None:
    program, connection = await box.pair()
    data = bytes(range(256)) * (CHANNEL_WINDOW_BYTES * 5 // 256)

    async def sender(stream: Program | AcceptedChannel) -> None:
        await stream.send(data)
        await stream.send_eof()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender, program)
            tasks.start_soon(sender, connection)
            assert await read_all(connection) == data
            assert await read_all(program) == data


async def test_nobody_reads_so_nobody_sends(box: Box) -> None:
    program, connection = await box.pair()
    with anyio.move_on_after(0.2) as waiting:
        await program.send(b"x" * (CHANNEL_WINDOW_BYTES + 1))
    assert waiting.cancelled_caught
    assert len(connection._buffer) == CHANNEL_WINDOW_BYTES


async def test_a_reset_is_told_to_the_other_side(box: Box) -> None:
    program, connection = await box.pair()
    connection.reset()
    with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(10):
        await program.receive()
    program, connection = await box.pair()
    program.reset()
    with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(10):
        await connection.receive()


async def test_only_so_many_channels_at_once(box: Box) -> None:
    programs = [await box.network.open("example.org", 80) for _ in range(LISTEN.channels)]
    with pytest.raises(ConnectionResetError):
        await box.network.open("example.org", 80)
    programs[0].reset()
    await box.network.open("example.org", 80)


async def test_broken_off_before_it_was_asked_for(box: Box) -> None:
    program = await box.network.open("gone.example", 80)
    program.reset()
    await box.client.ping()
    _, connection = await box.pair()
    assert connection.host == "example.org"


async def test_a_broken_connection_breaks_channels_and_keeps_the_ports(box: Box) -> None:
    _, connection = await box.pair()
    await box.agent.cut()
    with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(10):
        await connection.receive()
    with anyio.fail_after(10):
        program, again = await box.pair()
    await program.send(b"still here")
    assert await again.receive() == b"still here"


async def test_off_again(box: Box) -> None:
    await box.client.open_network(NetworkListen())
    with pytest.raises(ConnectionRefusedError):
        await box.network.open("example.org", 443)


async def test_into_the_machine(box: Box) -> None:
    async def echo(program: Program) -> None:
        await program.send(await program.receive())
        await program.aclose()

    box.network.servers[8000] = echo
    stream = await box.client.connect(8000)
    await stream.send(b"hello")
    with anyio.fail_after(10):
        assert await stream.receive() == b"hello"
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
    with pytest.raises(AgentRefused) as refused:
        await box.client.connect(8001)
    assert refused.value.reason == "refused"


async def test_an_old_agent_has_no_network(anyio_backend: str) -> None:
    async with FakeBackend() as backend:
        await backend.create(KEY, MachineSpec("box", "python"))
        machine = backend.host.machines[KEY]
        assert machine.agent is not None
        machine.agent.generation = 1
        async with open_client(lambda: backend.dial(KEY)) as client:
            with pytest.raises(AgentTooOld):
                await client.open_network(LISTEN)
            with pytest.raises(AgentTooOld):
                await client.connect(80)
            await client.ping()
