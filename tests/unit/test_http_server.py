"""What connections may take before anybody has shown a key: time, and their number."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream
from starlette.types import Receive, Scope, Send

from vmpool.http_server import HTTPServer, listen

pytestmark = pytest.mark.anyio
HEAD_SECONDS = 0.2
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BEGUN = [b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nX: "]
"""What may come of a head."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.http_server.HEAD_SECONDS", HEAD_SECONDS)


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers POST after longer than a head may take, everything else at once."""
    if scope["method"] == "POST":
        await anyio.sleep(3 * HEAD_SECONDS)
    headers = [(b"content-length", b"4")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"done"})


@asynccontextmanager
async def serving(max_connections: int = 100) -> AsyncIterator[int]:
    """A server's port."""
    server = HTTPServer(slow, anyio.Event(), drain=1, max_connections=max_connections)
    ready = anyio.Event()

    async def listening() -> None:
        ready.set()

    with listen("127.0.0.1", 0) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run, listener, listening)
            try:
                with anyio.fail_after(30):
                    await ready.wait()
                    yield listener.getsockname()[1]
            finally:
                server.stop()


async def answered(client: SocketStream, request: bytes = GET) -> None:
    """Send a request and take its whole answer."""
    await client.send(request)
    said = b""
    while not said.endswith(b"\r\n\r\ndone"):
        said += await client.receive()


async def closed(client: SocketStream) -> None:
    """Wait until the server has closed it without a word."""
    try:
        said = await client.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return
    raise AssertionError(said)


@pytest.mark.parametrize(("begun", "first"), [(b"", True), *((b, f) for b in BEGUN for f in (True, False))])
async def test_a_head_that_does_not_come(begun: bytes, *, first: bool) -> None:
    async with serving() as port, await anyio.connect_tcp("127.0.0.1", port) as client:
        if not first:
            await answered(client)
        if begun:
            await client.send(begun)
        await closed(client)


async def test_a_head_in_drops() -> None:
    async with serving() as port, await anyio.connect_tcp("127.0.0.1", port) as client:
        await client.send(GET[:-4] + b"\r\nX: ")
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await client.send(b"a")
                await anyio.sleep(HEAD_SECONDS / 10)


async def test_what_is_idle_or_waits_for_its_answer_is_kept() -> None:
    post = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving() as port, await anyio.connect_tcp("127.0.0.1", port) as client:
        await client.send(post)
        for piece in (b"2\r\n", b"ab\r\n", b"0\r\n\r\n"):
            await client.send(piece)
            await anyio.sleep(HEAD_SECONDS / 20)
        await answered(client, b"")
        await anyio.sleep(3 * HEAD_SECONDS)
        await answered(client)
        # A line's end too many, as some send it, while the answer is on its way.
        await client.send(post + b"0\r\n\r\n")
        await anyio.sleep(HEAD_SECONDS / 20)
        await answered(client, b"\r\n")


async def test_connections_beyond_the_bound_are_closed() -> None:
    async with serving(max_connections=2) as port:
        first = await anyio.connect_tcp("127.0.0.1", port)
        async with first, await anyio.connect_tcp("127.0.0.1", port) as second:
            await answered(first)
            await answered(second)
            async with await anyio.connect_tcp("127.0.0.1", port) as third:
                await closed(third)
            await first.aclose()
            await answered(second)
            while True:  # until the server has seen that the first is gone
                async with await anyio.connect_tcp("127.0.0.1", port) as later:
                    try:
                        await answered(later)
                    except (anyio.EndOfStream, anyio.BrokenResourceError):
                        continue
                    break
