"""An agent to talk to: the fake one, or the real binary as a plain local process, behind one face."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup, UNIXSocketStream

from vmpool.agent.base import ProcessSpec
from vmpool.agent.binary import path as agent_binary
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.fake import FakeBackend
from vmpool.errors import AgentUnreachable

KEY = MachineKey(1)


class Cuttable(ByteStream):
    """A stream a test can break, also in the middle of what it carries."""

    def __init__(self, inner: ByteStream) -> None:
        self._inner = inner
        self._cut = False
        self.received = 0
        self.cut_after: int | None = None

    async def receive(self, max_bytes: int = 65536) -> bytes:
        if self.cut_after is not None:
            max_bytes = min(max_bytes, self.cut_after - self.received)
            if max_bytes <= 0:
                await self.cut()
        if self._cut:
            raise anyio.BrokenResourceError
        try:
            data = await self._inner.receive(max_bytes)
        except anyio.ClosedResourceError:
            if self._cut:
                raise anyio.BrokenResourceError from None
            raise
        self.received += len(data)
        return data

    async def send(self, item: bytes) -> None:
        if self._cut:
            raise anyio.BrokenResourceError
        await self._inner.send(item)

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def cut(self) -> None:
        self._cut = True
        raw = self._inner.extra(SocketAttribute.raw_socket, None)
        if raw is None:
            await anyio.aclose_forcefully(self._inner)
        else:  # as a far side that is gone: a socket is not closed under one who waits on it
            with suppress(OSError):
                raw.shutdown(socket.SHUT_RDWR)

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Of one that counts what it carries, the socket must not show: it would be read past the count."""
        return {} if self.cut_after is not None else self._inner.extra_attributes


async def cut_on_the_way(inner: ByteStream, after: int, tasks: TaskGroup) -> ByteStream:
    """A socket to `inner` that ends once `after` bytes have come over it."""
    near, far = socket.socketpair()
    proxy = await UNIXSocketStream.from_socket(far)

    async def there() -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for data in proxy:
                await inner.send(data)

    async def back() -> None:
        left = after
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while left:
                data = await inner.receive(left)
                left -= len(data)
                await proxy.send(data)
        far.shutdown(socket.SHUT_RDWR)

    async def both() -> None:
        async with proxy, inner, anyio.create_task_group() as directions:
            directions.start_soon(there)
            directions.start_soon(back)

    tasks.start_soon(both)
    return await UNIXSocketStream.from_socket(near)


@dataclass(slots=True)
class Agent:
    """dial_raw: opens a stream.  restart: ends the agent and starts another.  home: where files may go."""

    dial_raw: Callable[[], Any]
    restart: Callable[[], Any]
    home: str
    streams: list[Cuttable] = field(default_factory=list)
    refusing: Exception | None = None
    dials: int = 0

    async def dial(self) -> ByteStream:
        self.dials += 1
        if self.refusing is not None:
            raise self.refusing
        stream = Cuttable(await self.dial_raw())
        self.streams.append(stream)
        return stream

    async def cut(self) -> None:
        """Break every stream there is."""
        for stream in self.streams:
            await stream.cut()
        self.streams.clear()

    def shell(self, script: str, **more: Any) -> ProcessSpec:
        return ProcessSpec(("/bin/sh", "-c", script), env=self.env, cwd=self.home, **more)

    def python(self, code: str, **more: Any) -> ProcessSpec:
        argv = ("python3", "-c", code)
        return ProcessSpec(argv, env=self.env, cwd=self.home, **more)

    @property
    def env(self) -> dict[str, str]:
        return {"HOME": self.home, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}


@asynccontextmanager
async def fake_agent() -> AsyncIterator[Agent]:
    async with FakeBackend() as backend:
        await backend.create(KEY, MachineSpec("box", "python"))

        async def restart() -> None:
            await backend.stop(KEY)
            await backend.start(KEY)

        yield Agent(lambda: backend.dial(KEY), restart, "/home/user")


def in_own_network(argv: list[str]) -> list[str]:
    """The same agent in a network namespace as a VM has it."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", "sh", "-c", '"$0" route && exec "$0" "$@"', *argv]


class _Binary:
    """The real agent, not as PID 1: its orphans still come to it, it being a subreaper."""

    def __init__(self, directory: Path, *, network: bool) -> None:
        self._network = network
        self._directory = directory
        self._socket = directory / "agent.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        home = self._directory / "home"
        home.mkdir(exist_ok=True)
        argv = [str(agent_binary()), "--socket", str(self._socket), "--home", str(home)]
        if self._network:
            argv = in_own_network(argv)
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, cwd="/")
        for _ in range(500):
            if self._socket.exists():
                return
            time.sleep(0.01)
        raise AssertionError("the agent did not open its socket")

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(with_signal)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.kill(self._process.pid, signal.SIGKILL)
                self._process.wait(5)
            self._socket.unlink(missing_ok=True)

    async def dial(self) -> ByteStream:
        try:
            return await anyio.connect_unix(self._socket)
        except OSError as error:
            raise AgentUnreachable("the agent does not listen") from error


@asynccontextmanager
async def real_agent(directory: Path, *, network: bool = False) -> AsyncIterator[Agent]:
    """network: in a network namespace of its own, where every address leads to it."""
    binary = _Binary(directory, network=network)
    await anyio.to_thread.run_sync(binary.start)

    async def restart() -> None:
        await anyio.to_thread.run_sync(binary.stop, signal.SIGKILL)
        await anyio.to_thread.run_sync(binary.start)

    try:
        yield Agent(binary.dial, restart, str(directory / "home"))
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(binary.stop)
