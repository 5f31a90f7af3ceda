"""Network channels, with the fake agent and the real one: what the broker relies on."""

from __future__ import annotations

import inspect
import os
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import pytest

from tests.unit.agent.agents import KEY
from tests.unit.agent.programs import LISTEN, Box, Program, both, fake_box, read_all, real_box
from vmpool.agent import NetworkListen, NetworkStream, open_client
from vmpool.agent.binary import path as agent_binary
from vmpool.agent.messages import CHANNEL_WINDOW_BYTES
from vmpool.backends.base import MachineSpec
from vmpool.backends.fake import FakeBackend
from vmpool.errors import AgentRefused, AgentTooOld


@pytest.fixture(params=["fake", "binary"])
async def box(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Box]:
    async with fake_box() if request.param == "fake" else real_box(tmp_path) as opened:
        yield opened


def test_no_route_where_the_namespace_is_our_own() -> None:
    """A pid that is somebody else's by now may lead to the host's, and every address would be the host's own.

    All of it in a namespace of its own, as nothing may come of it here.
    """
    tried = """
        "$0" route /proc/self/ns/net && exit 90
        grep 198.18.0.1 /proc/net/fib_trie && exit 91
        unshare --net sleep 60 & other=$!
        until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/$$/ns/net)" ]; do sleep 0.01; done
        "$0" route /proc/$other/ns/net || { kill $other; exit 92; }
        kill $other
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *user, "--net", "sh", "-c", tried, str(agent_binary())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "Invalid argument" in done.stderr


async def reset(program: Program) -> None:
    done = program.reset()
    if inspect.isawaitable(done):
        await done


async def test_what_a_connection_says_of_itself(box: Box) -> None:
    for host, port, said in (
        ("example.org", 443, ("direct", "example.org", 443)),
        ("93.184.216.34", 80, ("direct", "93.184.216.34", 80)),
        ("2001:db8::1", 443, ("direct", "2001:db8::1", 443)),
        ("127.0.0.1", LISTEN.proxy, ("proxy", "", 0)),
    ):
        await box.open(host, port)
        connection = await box.accepted()
        assert (connection.listener, connection.host, connection.port) == said


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
    data = bytes(range(256)) * (CHANNEL_WINDOW_BYTES * 50 // 256)

    async def sender(stream: Program | NetworkStream) -> None:
        await stream.send(data)
        await stream.send_eof()

    results = await both(
        partial(sender, program),
        partial(sender, connection),
        partial(read_all, connection),
        partial(read_all, program),
    )
    assert results[2] == data
    assert results[3] == data


async def test_nobody_reads_so_nobody_sends(box: Box) -> None:
    program, connection = await box.pair()
    with anyio.move_on_after(0.3) as waiting:
        await program.send(b"x" * (16 << 20))
    assert waiting.cancelled_caught
    assert len(connection._buffer) == CHANNEL_WINDOW_BYTES
    await box.client.ping()  # the connection to the agent is free all the same


async def test_a_program_that_does_not_read_stops_only_its_own_sender(box: Box) -> None:
    process = None
    if box.agent.home != "/home/user":
        code = "import socket, time; s = socket.create_connection(('example.org', 80)); time.sleep(60)"
        process = await box.run(code)
    else:
        await box.open("example.org", 80)
    connection = await box.accepted()
    with anyio.move_on_after(0.5) as waiting:
        await connection.send(b"x" * (64 << 20))
    assert waiting.cancelled_caught
    _, other = await box.pair()
    await other.send(b"quick")
    await box.client.ping()
    connection.reset()
    if process is not None:
        await process.signal(9)


async def test_a_reset_is_told_to_the_other_side(box: Box) -> None:
    program, connection = await box.pair()
    connection.reset()
    with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(20):
        await program.receive()
    program, connection = await box.pair()
    await reset(program)
    with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(20):
        await connection.receive()


async def test_closed_it_still_delivers_what_was_sent_before(box: Box) -> None:
    program, connection = await box.pair()
    await program.send(b"a request nobody reads to its end" * 1000)
    await connection.send(b"403 Forbidden" * 1000)
    await connection.aclose()
    assert await read_all(program) == b"403 Forbidden" * 1000


async def test_broken_off_before_it_was_asked_for(box: Box) -> None:
    program = await box.open("gone.example", 80)
    await reset(program)
    await anyio.sleep(0.2)
    await box.client.ping()
    _, connection = await box.pair()
    assert connection.host == "example.org"


async def test_a_broken_connection_breaks_channels_and_keeps_the_ports(box: Box) -> None:
    program, connection = await box.pair()
    await box.agent.cut()
    with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(20):
        await connection.receive()
    with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(20):
        await program.receive()
    program, again = await box.pair()
    await program.send(b"still here")
    assert await again.receive() == b"still here"


async def test_off_again(box: Box) -> None:
    _, connection = await box.pair()
    await box.client.open_network(NetworkListen())
    with pytest.raises(ConnectionRefusedError):
        await box.open("93.184.216.34", 443)
    await connection.send(b"what is open stays open")


async def test_a_restarted_machine_listens_again_by_itself(box: Box) -> None:
    await box.agent.restart()
    await box.client.ping()
    if box.agent.home == "/home/user":
        return  # its programs were the old machine's
    _, connection = await box.pair()
    assert connection.port == 443


async def test_into_the_machine(box: Box) -> None:
    await box.echo(8000)
    stream = await box.client.connect(8000)
    await stream.send(b"hello")
    with anyio.fail_after(20):
        assert await read_all(stream) == b"hello"
    with pytest.raises(AgentRefused) as refused:
        await box.client.connect(8001)
    assert refused.value.reason == "refused"


async def test_only_so_many_channels_at_once(anyio_backend: str) -> None:
    async with fake_box() as box:
        programs = [await box.open("example.org", 80) for _ in range(LISTEN.channels)]
        with pytest.raises(ConnectionResetError):
            await box.open("example.org", 80)
        await reset(programs[0])
        await box.open("example.org", 80)


async def test_into_the_machine_by_the_other_family(tmp_path: Path, anyio_backend: str) -> None:
    async with real_box(tmp_path) as box:
        await box.echo(8000, "::1", 10)
        stream = await box.client.connect(8000)
        await stream.send(b"hello")
        assert await read_all(stream) == b"hello"
        with pytest.raises(AgentRefused):
            await box.client.connect(LISTEN.proxy)  # the agent's own


async def test_where_a_port_is_taken_the_proxy_remains(tmp_path: Path, anyio_backend: str) -> None:
    async with real_box(tmp_path) as box:
        await box.client.open_network(NetworkListen())
        await box.echo(443)
        had = await box.client.open_network(LISTEN)
        assert had == NetworkListen(LISTEN.proxy, channels=LISTEN.channels)
        await box.open("127.0.0.1", LISTEN.proxy)
        assert (await box.accepted()).listener == "proxy"
        await box.echo(LISTEN.proxy + 1)
        with pytest.raises(AgentRefused) as refused:
            await box.client.open_network(NetworkListen(LISTEN.proxy + 1))
        assert refused.value.reason == "not_supported"


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
