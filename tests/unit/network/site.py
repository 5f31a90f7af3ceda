"""A broker with real sockets at both ends: programs connect to it on loopback, and so does it to servers."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
from anyio.abc import SocketAttribute, SocketStream, TaskGroup

from vmpool.domain.network import NetworkEntry, NetworkPolicy
from vmpool.network.broker import Broker, Surroundings
from vmpool.network.limits import NetworkLimits
from vmpool.network.reach import Connect
from vmpool.network.resolver import Resolver
from vmpool.network.rules import admissions

EVERY_LOOPBACK = ("127.0.0.0/8", "::1")


class Guest:
    """What the agent would hand over, as a socket."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self.receive = stream.receive
        self.send = stream.send
        self.send_eof = stream.send_eof
        self.aclose = stream.aclose

    def reset(self) -> None:
        raw: socket.socket = self._stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._stream._transport.abort()  # type: ignore[attr-defined]  # there is no public way to reset


class Group:
    """The VMs of the group by name, each with its way in."""

    def __init__(self) -> None:
        self.vms: dict[str, Connect] = {}

    def find(self, host: str) -> Connect | None:
        return self.vms.get(host.removesuffix(".vm"))

    def owns(self, host: str) -> bool:
        return host.endswith(".vm")


class Site:
    """names: what the resolver knows.  accepted: connections that a broker has been given."""

    def __init__(self, tasks: TaskGroup) -> None:
        self.names: dict[str, list[str]] = {}
        self.looked_up: list[str] = []
        self.group = Group()
        self.port = 0
        self.accepted = 0
        self.direct: tuple[str, int] | None = None
        self._tasks = tasks
        self.broker: Broker

    def lookup(self, name: str) -> list[str]:
        self.looked_up.append(name)
        if name not in self.names:
            raise OSError("no such name")
        return self.names[name]

    def begin(
        self,
        policy: NetworkPolicy | None = None,
        *,
        admit: tuple[str, ...] = EVERY_LOOPBACK,
        limits: NetworkLimits | None = None,
        keep: float = 0.0,
    ) -> Broker:
        """A broker with this policy from now on."""
        around = Surroundings(
            resolver=Resolver(self._tasks, self.lookup, keep=keep, keep_failure=0.0, timeout=2.0),
            limits=limits or NetworkLimits(idle_timeout=20, connect_timeout=5),
            admit=admissions("network.admit", admit),
            clock=datetime.now,
        )
        self.broker = Broker(around, policy or NetworkPolicy(), self.group)
        return self.broker

    async def accept(self, stream: SocketStream) -> None:
        self.accepted += 1
        await self.broker.serve(Guest(stream), self.direct)

    @asynccontextmanager
    async def program(self, first: bytes = b"") -> AsyncIterator[SocketStream]:
        """A program's connection to the proxy."""
        async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
            if first:
                await stream.send(first)
            yield stream

    async def says(self, first: bytes) -> bytes:
        """Everything the proxy and what is behind it answer to a program that says this and no more."""
        async with self.program(first) as stream:
            await stream.send_eof()
            return await everything(stream)

    async def entries(self, count: int = 1) -> list[NetworkEntry]:
        """The next entries of the journal."""
        found: list[NetworkEntry] = []
        with anyio.fail_after(5):
            while len(found) < count:
                found += self.broker.journal.take()
                await anyio.sleep(0.005)
        return found

    async def entry(self) -> NetworkEntry:
        """The only one."""
        (entry,) = await self.entries()
        return entry


async def everything(stream: SocketStream) -> bytes:
    """To the end; a reset is one."""
    data = b""
    with anyio.fail_after(10):
        try:
            async for chunk in stream:
                data += chunk
        except anyio.BrokenResourceError:
            data += b"<reset>"
    return data


@asynccontextmanager
async def serving(
    handler: Callable[[SocketStream], Awaitable[None]], host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A server on loopback; its port."""

    async def one(stream: SocketStream) -> None:
        async with stream:
            try:
                await handler(stream)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
                pass

    listener = await anyio.create_tcp_listener(local_host=host)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, one)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def echo(stream: SocketStream) -> None:
    """Sends back what comes."""
    async for data in stream:
        await stream.send(data)


async def hold(stream: SocketStream) -> None:
    """Says one word and stays."""
    await stream.send(b"here")
    await anyio.sleep_forever()
