"""Server-sent events: what is written, and what ends, as it happens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from typing import Generic, TypeVar

import anyio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vmpool.api import answers
from vmpool.api.edge import cut
from vmpool.api.errors import problem_of
from vmpool.api.services import Services
from vmpool.errors import VMPoolError
from vmpool.pool.batch import Arrival, Arrivals
from vmpool.pool.feed import LogEntry

T = TypeVar("T")

Ended = Callable[[], None]
Left = Callable[[], Awaitable[None]]
"""What is to be done when a reader has left."""

MEDIA_TYPE = "text/event-stream"
HEARTBEAT_SECONDS = 15.0
"""How often a comment is sent: proxies close silent connections."""


class EventStream(Response, Generic[T]):
    """Sends each value as an event, until there are no more, the reader leaves or the server ends.

    values: entered when the answer begins.  event: a value, written out.  end: the last event of a stream
    that is complete, from the number of values.  closing: set when a stream without end is to end; without
    it the stream is a request like others, which the server's end leaves its time.  allowed: raises once the
    reader may not read any more, and is asked at every heartbeat.  A failure, that one included, and being
    cut by the server's end, is an event `error` with the problem.  left: awaited when the reader has gone
    before the end.
    """

    media_type = MEDIA_TYPE

    def __init__(
        self,
        values: AbstractAsyncContextManager[AsyncIterator[T]],
        event: Callable[[T], bytes],
        request_id: str,
        *,
        end: Callable[[int], bytes] | None = None,
        closing: anyio.Event | None = None,
        allowed: Callable[[], Awaitable[None]] | None = None,
        left: Left | None = None,
    ) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._values = values
        self._event = event
        self._request_id = request_id
        self._end = end
        self._closing = closing
        self._allowed = allowed
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        write = partial(_write, send)
        gone = anyio.Event()
        try:
            async with anyio.create_task_group() as tasks:
                ended = tasks.cancel_scope.cancel
                tasks.start_soon(when_gone, receive, gone, ended)
                tasks.start_soon(_heartbeat, write)
                if self._allowed is not None:
                    tasks.start_soon(self._while_allowed, self._allowed, write, ended)
                if self._closing is not None:
                    tasks.start_soon(when_closing, self._closing, ended)
                await self._send_all(write)
                ended()
        except anyio.get_cancelled_exc_class():  # the server's end, as at the edge: this task ends here too
            await write(self._failed(cut()))
        if gone.is_set() and self._left is not None:
            await self._left()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        count = 0
        try:
            async with self._values as values:
                async for value in values:
                    await write(self._event(value))
                    count += 1
            if self._end is not None:
                await write(self._end(count))
        except VMPoolError as error:
            await write(self._failed(error))

    async def _while_allowed(
        self,
        allowed: Callable[[], Awaitable[None]],
        write: Callable[[bytes], Awaitable[None]],
        ended: Ended,
    ) -> None:
        try:
            while True:
                await anyio.sleep(HEARTBEAT_SECONDS)
                await allowed()
        except VMPoolError as error:
            await write(self._failed(error))
            ended()

    def _failed(self, error: VMPoolError) -> bytes:
        line = problem_of(error, self._request_id).model_dump_json()
        return b"event: error\ndata: %b\n\n" % line.encode()


def log_stream(request: Request, entries: AsyncGenerator[LogEntry, None]) -> Response:
    """A VM's output as it is written, until the VM is deleted, the reader's key ends or the server does."""
    services = Services.of(request)
    header = request.headers.get("authorization")
    return EventStream(
        aclosing(entries),
        answers.log_event,
        request.state.request_id,
        closing=services.closing,
        allowed=lambda: services.authenticator.confirm(header),
    )


def batch_stream(request: Request, batch: Arrivals) -> Response:
    """Each item of a batch with its place as soon as it is there, and at last an event `end`."""
    request_id: str = request.state.request_id

    def event(arrival: Arrival) -> bytes:
        place, item = arrival
        return b'data: {"place":%d,"item":%b}\n\n' % (place, answers.batch_item(item, request_id))

    return EventStream(batch, event, request_id, end=_end_of_batch)


def is_wanted(request: Request) -> bool:
    """Whether the caller asks for events: `Accept` names their media type."""
    accepted = request.headers.get("accept", "").split(",")
    return any(kind.partition(";")[0].strip().lower() == MEDIA_TYPE for kind in accepted)


def _end_of_batch(items: int) -> bytes:
    return b'event: end\ndata: {"items":%d}\n\n' % items


async def _write(send: Send, event: bytes) -> None:
    await send({"type": "http.response.body", "body": event, "more_body": True})


async def _heartbeat(write: Callable[[bytes], Awaitable[None]]) -> None:
    while True:
        await write(b": still here\n\n")
        await anyio.sleep(HEARTBEAT_SECONDS)


async def when_closing(closing: anyio.Event, ended: Ended) -> None:
    """Call `ended` once the server stops accepting."""
    await closing.wait()
    ended()


async def when_gone(receive: Receive, gone: anyio.Event, ended: Ended) -> None:
    """Set `gone` and call `ended` once the reader has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    gone.set()
    ended()
