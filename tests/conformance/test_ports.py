"""Connections into a machine whose network was never opened: they need nothing but its agent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from tests.conformance.backends import Power
from tests.conformance.box import Box
from vmpool.agent import NetworkStream
from vmpool.backends.fake import FakeBackend
from vmpool.backends.fake.network import Program
from vmpool.errors import AgentRefused, InfrastructureFailure

SERVER = """
import socket, threading
listener = socket.create_server(({address!r}, {port}), family=socket.{family}, backlog=64)
def echo(connection):
    with connection:
        while piece := connection.recv(65536):
            connection.sendall(piece)
while True:
    threading.Thread(target=echo, args=listener.accept()[:1], daemon=True).start()
"""
LARGE = bytes(range(256)) * 8192
"""2 MiB: more than every window together."""


async def echo(program: Program) -> None:
    """What `SERVER` does for each connection, in a machine that runs no programs."""
    try:
        async for piece in program:
            await program.send(piece)
        await program.aclose()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass


@asynccontextmanager
async def listening(
    box: Box, port: int, address: str = "127.0.0.1", family: str = "AF_INET"
) -> AsyncIterator[None]:
    """An echo at this port in the machine."""
    if Power.REAL_PROGRAMS not in box.world.candidate.powers:
        assert isinstance(box.backend, FakeBackend)
        agent = box.backend.host.machines[box.key].agent
        assert agent is not None
        agent.network.servers[port] = echo
        yield
        del agent.network.servers[port]
        return
    code = SERVER.format(address=address, port=port, family=family)

    async def serve() -> None:
        with contextlib.suppress(InfrastructureFailure):  # a test may destroy the machine under it
            await box.python(code)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        with anyio.fail_after(30):
            await (await connected(box, port)).aclose()
        yield
        tasks.cancel_scope.cancel()


async def connected(box: Box, port: int) -> NetworkStream:
    """Once something listens there."""
    while True:
        try:
            return await box.client.connect(port)
        except AgentRefused:
            await anyio.sleep(0.02)


async def told(stream: NetworkStream, text: bytes) -> bytes:
    """All that comes back to this and the end of it."""
    answer = bytearray()
    async with anyio.create_task_group() as tasks:

        async def say() -> None:
            await stream.send(text)
            await stream.send_eof()

        tasks.start_soon(say)
        with pytest.raises(anyio.EndOfStream):
            while True:
                answer += await stream.receive()
    await stream.aclose()
    return bytes(answer)


async def test_bytes_go_both_ways_to_the_end(own_box: Box) -> None:
    async with listening(own_box, 8000):
        assert await told(await own_box.client.connect(8000), b"hello") == b"hello"
        assert await told(await own_box.client.connect(8000), LARGE) == LARGE


async def test_many_at_once(own_box: Box) -> None:
    answers: dict[int, bytes] = {}

    async def one(number: int) -> None:
        answers[number] = await told(await own_box.client.connect(8000), b"%d" % number * 1000)

    async with listening(own_box, 8000), anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(one, number)
    assert answers == {number: b"%d" % number * 1000 for number in range(50)}


async def test_nothing_listens(own_box: Box) -> None:
    with pytest.raises(AgentRefused) as refused:
        await own_box.client.connect(8001)
    assert refused.value.reason == "refused"


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_what_listens_on_ipv6_only_is_reached(own_box: Box) -> None:
    real = Power.REAL_PROGRAMS in own_box.world.candidate.powers
    if real and not (await own_box.output("cat /proc/net/if_inet6 || true")).strip():
        pytest.skip("this engine gives a container without a network no ::1")
    async with listening(own_box, 8000, "::1", "AF_INET6"):
        assert await told(await own_box.client.connect(8000), b"hello") == b"hello"


async def test_a_machine_that_stops_ends_them(own_box: Box) -> None:
    async with listening(own_box, 8000):
        stream = await own_box.client.connect(8000)
        await stream.send(b"hello")
        assert await stream.receive() == b"hello"
        await own_box.backend.destroy(own_box.key)
        with anyio.fail_after(45), pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await stream.receive()
        with anyio.fail_after(40), pytest.raises(InfrastructureFailure):
            await own_box.client.connect(8000)
