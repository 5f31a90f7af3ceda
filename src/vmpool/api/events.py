"""Server-sent events: a VM's output as it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vmpool.api import answers
from vmpool.api.errors import problem_of
from vmpool.errors import VMPoolError
from vmpool.pool.feed import LogEntry

HEARTBEAT_SECONDS = 15.0
"""How often a comment is sent: proxies close silent connections."""


class LogStream(Response):
    """Sends each entry as an event, until there are no more, the reader leaves or the server ends."""

    media_type = "text/event-stream"

    def __init__(self, entries: AsyncIterator[LogEntry], closing: anyio.Event, request_id: str) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._entries = entries
        self._closing = closing
        self._request_id = request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        write = partial(_write, send)
        async with anyio.create_task_group() as tasks, _closing(self._entries) as entries:
            ended = tasks.cancel_scope.cancel
            tasks.start_soon(_when_closing, self._closing, ended)
            tasks.start_soon(_when_gone, receive, ended)
            tasks.start_soon(_heartbeat, write)
            try:
                async for entry in entries:
                    line = answers.log_entry(entry).model_dump_json()  # one line: one `data:` is enough
                    await write(f"data: {line}\n\n".encode())
            except VMPoolError as error:
                line = problem_of(error, self._request_id).model_dump_json(exclude_none=True)
                await write(f"event: error\ndata: {line}\n\n".encode())
            ended()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})


async def _heartbeat(write: Callable[[bytes], Awaitable[None]]) -> None:
    while True:
        await write(b": still here\n\n")
        await anyio.sleep(HEARTBEAT_SECONDS)


async def _when_closing(closing: anyio.Event, ended: Callable[[], None]) -> None:
    await closing.wait()
    ended()


async def _when_gone(receive: Receive, ended: Callable[[], None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    ended()


@asynccontextmanager
async def _closing(entries: AsyncIterator[LogEntry]) -> AsyncIterator[AsyncIterator[LogEntry]]:
    """Leaving the loop early ends the generator now, not when it is collected."""
    try:
        yield entries
    finally:
        if isinstance(entries, AsyncGenerator):
            await entries.aclose()
