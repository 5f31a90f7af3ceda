"""A server on a real socket in the test's own loop, and servers in its fake VMs that the test plays."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from tests.api.conftest import MAX_BODY
from vmpool.api.ports.site import ShareSite
from vmpool.api.server import create_app
from vmpool.api.services import Services
from vmpool.app import opened
from vmpool.backends.base import MachineKey
from vmpool.backends.fake import FakeBackend
from vmpool.backends.fake.network import Handler, Program
from vmpool.http_server import HTTPServer, listen
from vmpool.settings import Listen, RateSettings, Settings
from vmpool.store.statedir import StateDirectory

from ..caller import Caller

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
LINE = b"\r\n"
BROKEN = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        backend="fake",
        listen=Listen(port=0, max_body=MAX_BODY, drain=1),
        rates=RateSettings(failures=0),
    )


@dataclass
class Heard:
    """What a server in a VM was asked, and its answer to everything."""

    answer: bytes = OK
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def __call__(self, program: Program) -> None:
        head, rest = await head_of(program)
        self.heads.append(head)
        self.bodies.append(await body_of(program, head, rest))
        await program.send(self.answer)
        await program.aclose()

    def header(self, name: str, request: int = -1) -> list[str]:
        """Its values in a request."""
        lines = self.heads[request].decode("latin-1").split("\r\n")[1:]
        pairs = (line.split(": ", 1) for line in lines if line)
        return [value for found, value in pairs if found.lower() == name]


async def head_of(stream: Any) -> tuple[bytes, bytes]:
    """Up to the empty line, and what came after it."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += await stream.receive()
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


async def body_of(stream: Any, head: bytes, rest: bytes) -> bytes:
    """Framed as the head says; a chunked one with its frames."""
    if b"transfer-encoding: chunked" in head.lower():
        while not rest.endswith(b"0\r\n\r\n"):
            rest += await stream.receive()
        return rest
    for line in head.lower().split(LINE):
        if line.startswith(b"content-length: "):
            while len(rest) < int(line[16:]):
                rest += await stream.receive()
    return rest


@dataclass
class Site:
    """A running server.  caller: its owner.  other: somebody else.  vm: the owner's."""

    services: Services
    address: tuple[str, int]
    client: httpx.AsyncClient
    key: str
    caller: Caller
    other: Caller
    vm: int

    def inside(self, handler: Handler, port: int = 8080) -> None:
        """Let this listen in the VM."""
        backend = self.services.pool._backend
        assert isinstance(backend, FakeBackend)
        agent = backend.host.machines[MachineKey(self.vm)].agent
        assert agent is not None

        async def quiet(program: Program) -> None:
            with contextlib.suppress(*BROKEN):  # the other end went away, as others do
                await handler(program)

        agent.network.servers[port] = quiet

    def heard(self, answer: bytes = OK, port: int = 8080) -> Heard:
        """Let something listen that remembers what it was asked."""
        made = Heard(answer)
        self.inside(made, port)
        return made

    def path(self, rest: str = "/", port: int = 8080) -> str:
        return f"/api/vms/{self.vm}/ports/{port}{rest}"

    async def raw(self, head: str, *lines: str, body: bytes = b"") -> SocketStream:
        """A connection on which this was asked, with the owner's key."""
        stream = await anyio.connect_tcp(*self.address)
        host = f"Host: {self.address[0]}:{self.address[1]}"
        asked = (head, host, f"Authorization: Bearer {self.key}", *lines, "", "")
        await stream.send("\r\n".join(asked).encode() + body)
        return stream


@pytest.fixture
async def site(settings: Settings, anyio_backend: str) -> AsyncIterator[Site]:
    with StateDirectory(settings.state_dir) as directory, listen("127.0.0.1", 0) as listener:
        async with opened(settings, directory) as services, anyio.create_task_group() as tasks:
            port = listener.getsockname()[1]
            links = ShareSite("http", "localhost", f":{port}")
            app = create_app(services, max_body=MAX_BODY, share_site=links, share_max=7200)
            server = HTTPServer(app, services.closing, drain=1, max_connections=500, share_site=links)
            ready, ended = anyio.Event(), anyio.Event()

            async def listening() -> None:
                ready.set()

            async def run() -> None:
                await server.run(listener, listening)
                ended.set()

            tasks.start_soon(run)
            await ready.wait()
            key = (settings.state_dir / "owner.key").read_text().strip()
            made = await services.store.users.create("somebody")
            _, others = await services.store.keys.create(made.id, "k")
            url = f"http://127.0.0.1:{port}"
            async with client_of(url, key) as client, client_of(url, others) as other:
                caller = Caller(client)
                vm = (await caller.create("box", network="none"))["id"]
                yield Site(services, ("127.0.0.1", port), client, key, caller, Caller(other), vm)
            server.stop()
            with anyio.fail_after(10):
                await ended.wait()


def client_of(url: str, key: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=10, trust_env=False)
