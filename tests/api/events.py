"""Following an endless answer: httpx's ASGI transport waits for the end, so this speaks ASGI itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio
import httpx
from anyio.streams.memory import MemoryObjectReceiveStream
from starlette.types import Message, Scope

from vmpool.client.sse import Decoder, Event

from .caller import Caller


class EventStream:
    """An answer that is under way."""

    def __init__(self, headers: httpx.Headers, chunks: MemoryObjectReceiveStream[bytes]) -> None:
        self.headers = headers
        self._chunks = chunks

    async def events(self) -> AsyncIterator[str]:
        """The data of each event, comments left out."""
        async for event in self.named():
            yield event.data

    async def chunk(self) -> bytes:
        """The next piece as it is sent."""
        return await self._chunks.receive()

    async def named(self) -> AsyncIterator[Event]:
        """Each event, comments left out."""
        decoder = Decoder()
        async for chunk in self._chunks:
            for event in decoder.feed(chunk):
                yield event


@asynccontextmanager
async def following(
    caller: Caller, url: str, body: object = None, **headers: str
) -> AsyncIterator[EventStream]:
    """GET `url`, or POST `body` to it; leaving the block is the reader going away.

    headers: further ones, with `_` for `-`.
    """
    content = b"" if body is None else json.dumps(body).encode()
    transport = caller.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    parts = urlsplit(url)
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET" if body is None else "POST",
        "scheme": "http",
        "path": parts.path,
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [
            (b"authorization", caller.client.headers["authorization"].encode()),
            (b"content-type", b"application/json"),
            (b"accept", b"text/event-stream"),
            *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
        ],
        "server": ("pool", 80),
        "client": ("127.0.0.1", 1),
    }
    left, begun = anyio.Event(), anyio.Event()
    start: Message = {}
    unread = [content]
    write, read = anyio.create_memory_object_stream[bytes](100)

    async def receive() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
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
