"""Programs in a machine that use its network: the test's own in a fake one, real ones under a real agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import anyio

from tests.unit.agent.agents import KEY, Agent, real_agent
from vmpool.agent import Client, Exit, NetworkListen, NetworkStream, Output, Process, open_client
from vmpool.agent.channel import AcceptedChannel
from vmpool.backends.base import MachineSpec
from vmpool.backends.fake import FakeBackend
from vmpool.backends.fake.network import FakeNetwork
from vmpool.backends.fake.network import Program as FakeProgram

LISTEN = NetworkListen(proxy=3128, direct=(80, 443), resolver=True, channels=4)

NETCAT = """
import os, signal, socket, struct, sys, threading
def reset(*_):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    os._exit(0)
def out():
    while data := os.read(0, 65536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
signal.signal(signal.SIGUSR1, reset)
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
os.write(2, b"+")
threading.Thread(target=out).start()
size = 0
try:
    while data := connection.recv(65536):
        os.write(1, data)
        size += len(data)
    os.write(2, b"%d" % size)
except ConnectionResetError:
    os._exit(7)
"""
"""Connects to its arguments, says + on stderr; carries input and output; says how much came when all has."""

ECHO = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=int(sys.argv[3]))
sys.stderr.write("+")
sys.stderr.flush()
while True:
    connection, _ = server.accept()
    connection.sendall(connection.recv(65536))
    connection.close()
"""
RESET_STATUS = 7


class Program(Protocol):
    """A program's end of a connection."""

    async def send(self, item: bytes) -> None: ...
    async def send_eof(self) -> None: ...
    async def receive(self) -> bytes: ...
    def reset(self) -> Any: ...


class RealProgram:
    """A process that has connected."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._events = process.events()
        self._received = 0
        self._size: int | None = None

    async def connected(self) -> None:
        event = await anext(self._events)
        if not (isinstance(event, Output) and event.stream == "stderr" and event.data == b"+"):
            raise ConnectionRefusedError(event)

    async def send(self, item: bytes) -> None:
        await self._process.write_stdin(item)

    async def send_eof(self) -> None:
        await self._process.close_stdin()

    async def receive(self) -> bytes:
        while self._received != self._size:
            event = await anext(self._events)
            if isinstance(event, Exit):
                raise anyio.EndOfStream if event.exit_code != RESET_STATUS else anyio.BrokenResourceError
            if event.stream == "stdout":
                self._received += len(event.data)
                return event.data
            self._size = int(event.data)
        raise anyio.EndOfStream

    async def reset(self) -> None:
        await self._process.signal(10)


class Box:
    """A machine whose network is open, and its client."""

    def __init__(self, agent: Agent, client: Client, network: FakeNetwork | None) -> None:
        self.agent = agent
        self.client = client
        self._network = network
        self._arrivals = client.guest_connections()
        self._executions = 0

    async def open(self, host: str, port: int) -> Program:
        """A program connects."""
        if self._network is not None:
            if (host, port) == ("127.0.0.1", LISTEN.proxy):
                return await self._network.open(listener="proxy")
            return await self._network.open(host, port)
        program = RealProgram(await self.run(NETCAT, host, str(port)))
        await program.connected()
        return program

    async def run(self, code: str, *arguments: str) -> Process:
        self._executions += 1
        spec = self.agent.python(code, stdin="open")
        return await self.client.start(
            self._executions, type(spec)((*spec.argv, *arguments), env=spec.env, cwd=spec.cwd, stdin="open")
        )

    async def echo(self, port: int, address: str = "127.0.0.1", family: int = 2) -> None:
        """A program that listens, and sends back what it hears first."""
        if self._network is not None:
            self._network.servers[port] = _echo
            return
        process = await self.run(ECHO, address, str(port), str(family))
        async for event in process.events():
            assert isinstance(event, Output) and event.data == b"+", event
            return

    async def accepted(self) -> AcceptedChannel:
        with anyio.fail_after(20):
            return await anext(self._arrivals)

    async def pair(self) -> tuple[Program, AcceptedChannel]:
        program = await self.open("example.org", 443)
        return program, await self.accepted()


async def _echo(program: FakeProgram) -> None:
    await program.send(await program.receive())
    await program.aclose()


@asynccontextmanager
async def fake_box() -> AsyncIterator[Box]:
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


@asynccontextmanager
async def real_box(directory: Path) -> AsyncIterator[Box]:
    async with real_agent(directory, network=True) as agent, open_client(agent.dial) as client:
        await client.open_network(LISTEN)
        yield Box(agent, client, None)


async def read_all(stream: Program | NetworkStream) -> bytes:
    parts = []
    try:
        while True:
            parts.append(await stream.receive())
    except anyio.EndOfStream:
        return b"".join(parts)


async def both(*calls: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    """Results of all, at once."""
    results: dict[int, Any] = {}

    async def one(index: int, call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        results[index] = await call()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for index, call in enumerate(calls):
                tasks.start_soon(one, index, call)
    return [results[index] for index in range(len(calls))]
