"""What a VM's programs find of a network: the agent, wherever they mean to go."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from tests.captured import Captured
from tests.conformance.backends import Power
from tests.conformance.box import Box
from vmpool.agent import NetworkListen, NetworkStream
from vmpool.agent.channel import AcceptedChannel
from vmpool.errors import AgentRefused

LISTEN = NetworkListen(proxy=3128, direct=(80, 443), resolver=True)
pytestmark = pytest.mark.requires(Power.REAL_PROGRAMS)

CONNECT = """
import socket
connection = socket.create_connection(({host!r}, {port}), timeout=20)
connection.sendall(b"question")
connection.shutdown(socket.SHUT_WR)
print(connection.recv(100).decode())
"""


class Outside:
    """The host's side: takes one connection, says what it was meant for, answers."""

    def __init__(self) -> None:
        self.connection: AcceptedChannel | None = None
        self.asked = b""

    async def answer(self, box: Box, answer: bytes) -> None:
        async for connection in box.client.guest_connections():
            self.connection = connection
            self.asked = await connection.receive()
            await connection.send(answer)
            await connection.aclose()
            return


@asynccontextmanager
async def outside(box: Box, answer: bytes = b"answer") -> Any:
    seen = Outside()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(seen.answer, box, answer)
        yield seen
        tasks.cancel_scope.cancel()


@pytest.fixture
async def open_box(box: Box) -> Box:
    await box.client.open_network(LISTEN)
    return box


async def connect(box: Box, host: str, port: int) -> tuple[Captured, Outside]:
    async with outside(box) as seen:
        captured = await box.python(CONNECT.format(host=host, port=port))
    return captured, seen


async def test_a_name_leads_to_the_agent_without_a_proxy(open_box: Box) -> None:
    captured, seen = await connect(open_box, "example.org", 443)
    assert captured.stdout == b"answer\n", captured
    assert seen.connection is not None
    assert (seen.connection.listener, seen.connection.host, seen.connection.port) == (
        "direct",
        "example.org",
        443,
    )
    assert seen.asked == b"question"


@pytest.mark.requires(Power.HOST_KERNEL)
@pytest.mark.parametrize("host", ["93.184.216.34", "169.254.169.254"])
async def test_so_does_an_address(open_box: Box, host: str) -> None:
    captured, seen = await connect(open_box, host, 80)
    assert captured.stdout == b"answer\n", captured
    assert seen.connection is not None
    assert (seen.connection.host, seen.connection.port) == (host, 80)


async def test_a_proxy_listens_for_those_that_know_one(open_box: Box) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    code = "import urllib.request; print(urllib.request.urlopen('http://example.org/page').read())"
    async with outside(open_box, answer) as seen:
        captured = await open_box.python(
            code, env={"http_proxy": "http://127.0.0.1:3128", "PATH": "/usr/bin:/bin"}
        )
    assert captured.stdout == b"b'hi'\n", captured
    assert seen.connection.listener == "proxy"
    assert seen.asked.startswith(b"GET http://example.org/page HTTP/1.1\r\n")


async def test_other_ports_and_its_own_loopback_lead_nowhere(open_box: Box) -> None:
    code = """
import socket
for host, port in (("example.org", 25), ("127.0.0.1", 443), ("127.0.0.1", 81)):
    try:
        with socket.create_connection((host, port), timeout=20) as connection:
            connection.recv(1)
        print("through")
    except ConnectionError as error:
        print(type(error).__name__)
"""
    captured = await open_box.python(code)
    refused, reset = "ConnectionRefusedError", "ConnectionResetError"
    assert captured.stdout.decode().split() == [refused, reset, refused], captured


async def connected(box: Box, port: int) -> NetworkStream:
    """Once something listens there."""
    while True:
        try:
            return await box.client.connect(port)
        except AgentRefused:
            await anyio.sleep(0.05)


async def test_the_host_reaches_a_port_in_it(open_box: Box) -> None:
    code = """
import http.server
http.server.HTTPServer(("127.0.0.1", 8000), http.server.SimpleHTTPRequestHandler).handle_request()
"""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_box.python, code)
        with anyio.fail_after(30):
            stream = await connected(open_box, 8000)
        await stream.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await stream.receive()).startswith(b"HTTP/1.0 200 OK")
        await stream.aclose()


async def test_closed_it_is_deaf_again(open_box: Box) -> None:
    await open_box.client.open_network(NetworkListen())
    code = """
import socket
for host, port in (("93.184.216.34", 443), ("127.0.0.1", 3128), ("example.org", 443)):
    try:
        socket.create_connection((host, port), timeout=20)
        print("through")
    except OSError as error:
        print("not")
"""
    captured = await open_box.python(code)
    assert captured.stdout.split() == [b"not"] * 3, captured
