"""Following an endless answer: httpx's ASGI transport waits for the end, so this speaks ASGI itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import httpx
from anyio.streams.memory import MemoryObjectReceiveStream
from starlette.types import Message, Scope

from .caller import Caller


class EventStream:
    """An answer that is under way."""

    def __init__(self, headers: httpx.Headers, chunks: MemoryObjectReceiveStream[bytes]) -> None:
        self.headers = headers
        self._chunks = chunks

    async def events(self) -> AsyncIterator[str]:
        """The data of each event, comments left out."""
        async for chunk in self._chunks:
            for line in chunk.decode().splitlines():
                if line.startswith("data: "):
                    yield line.removeprefix("data: ")


@asynccontextmanager
async def following(caller: Caller, url: str) -> AsyncIterator[EventStream]:
    """GET `url`; leaving the block is the reader going away."""
    transport = caller.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    parts = urlsplit(url)
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(b"authorization", caller.client.headers["authorization"].encode())],
        "server": ("pool", 80),
        "client": ("127.0.0.1", 1),
    }
    left, begun = anyio.Event(), anyio.Event()
    start: Message = {}
    write, read = anyio.create_memory_object_stream[bytes](100)

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
            begun.set()
        elif message.get("more_body"):
            await write.send(message["body"])
        else:
            write.close()

    async def answer() -> None:
        await transport.app(scope, receive, send)

    async with anyio.create_task_group() as tasks, read, write:
        tasks.start_soon(answer)
        with anyio.fail_after(10):
            await begun.wait()
            assert start["status"] == 200
            yield EventStream(httpx.Headers(start["headers"]), read)
            left.set()
