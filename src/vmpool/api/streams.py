"""An execution's output as it comes: the events, as SSE and for WebSockets, and the route that sends them."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from vmpool import domain
from vmpool.api import answers, events
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.schemas import OutputEvent
from vmpool.api.schemas.base import LARGEST_ID, Id
from vmpool.api.services import Services
from vmpool.api.vms import VMReference
from vmpool.errors import InvalidRequest, VMPoolError
from vmpool.pool.watch import Piece, Position

router = APIRouter(
    prefix="/api/vms/{vm_id}/executions/{execution_id}",
    tags=["executions"],
    dependencies=KEY_NEEDED,
    responses=answers.PROBLEMS,
)

Following = AsyncGenerator[Piece | domain.Execution, None]

_EVENT_ID = re.compile(r"([0-9]{1,19}),([0-9]{1,19})")
EVENTS = (
    "`event: stdout` and `event: stderr`, each with an `OutputEvent`, in order within each stream, and as"
    " they came as far as that is known. `id` is the position after it in both, to be sent back as"
    " `Last-Event-ID`. The last is `event: exit` with the Execution, or `event: error` with a Problem."
    " A stream without either has been cut (the server ended): ask again. Lines that begin with a colon keep"
    " the connection open."
)
EXAMPLE = (
    'event: stdout\nid: 3,0\ndata: {"offset":0,"text":"hi\\n"}\n\n'
    'event: exit\nid: 3,0\ndata: {"id":7,"vm_id":2,"state":"finished","exit_code":0}\n\n'
)
EVENT = {
    "type": "object",
    "description": "One event.",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
}
STREAM: dict[str, object] = {
    "description": EVENTS,
    "content": {"text/event-stream": {"schema": EVENT, "example": EXAMPLE}},
}


@router.get(
    "/stream",
    operation_id="stream_execution",
    summary="An execution's output as it comes",
    response_class=Response,
    responses={200: STREAM},
)
async def stream_execution(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    execution_id: Id,
    stdout_offset: Annotated[Id, Query(description="Bytes of standard output to leave out.")] = 0,
    stderr_offset: Annotated[Id, Query(description="Bytes of standard error to leave out.")] = 0,
    tail: Annotated[
        Id | None, Query(description="Begin so many bytes before the end of each; 0: from now on.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=40, description="Go on after this event; wins over the query.")
    ] = None,
) -> Response:
    """From the beginning, or from where one was. A reader that is slow, or goes away, holds up nothing.

    The same path is a WebSocket, which also takes standard input and signals: docs/executions.md.
    """
    at = Position(stdout_offset, stderr_offset)
    if last_event_id is not None:
        at, tail = position_of(last_event_id), None
    pool = Services.of(request).pool
    following = await pool.streams.follow(caller.id, vm_id, execution_id, at, tail)
    return _answer(request, following)


async def begun(
    request: Request, caller: domain.Principal, execution: domain.Execution, *, cancel: bool
) -> Response:
    """What one that was begun by this request writes, as events.  cancel: end it when the reader leaves."""
    pool = Services.of(request).pool

    async def left() -> None:
        with suppress(VMPoolError):  # nobody is there to be told
            await pool.controls.cancel(caller.id, execution.vm_id, execution.id)

    following = await pool.streams.follow(caller.id, execution.vm_id, execution.id, Position())

    async def all_of_it() -> Following:
        # as it was announced: a short program may have ended since, and the end is told at the end
        yield replace(execution, state=domain.ExecutionState.RUNNING, outcome=None, failure=None)
        async with aclosing(following) as rest:
            async for value in rest:
                yield value

    return _answer(request, all_of_it(), left if cancel else None, foreground=not execution.background)


def position_of(event_id: str) -> Position:
    """The position an event's id says; InvalidRequest where it says none."""
    found = _EVENT_ID.fullmatch(event_id)
    if found is None or max(int(found[1]), int(found[2])) > LARGEST_ID:
        raise InvalidRequest("Last-Event-ID", "must be the id of an event of this stream, such as '12,0'")
    return Position(int(found[1]), int(found[2]))


def output_event(of: Piece) -> OutputEvent:
    """A piece of output; what is not UTF-8, or cut within a character, as Base64."""
    try:
        return OutputEvent(offset=of.offset, text=of.data.decode(), skipped=of.skipped or None)
    except UnicodeDecodeError:
        encoded = b64encode(of.data).decode()
        return OutputEvent(offset=of.offset, base64=encoded, skipped=of.skipped or None)


def _answer(
    request: Request,
    following: Following,
    left: events.Left | None = None,
    *,
    foreground: bool = False,
) -> Response:
    services = Services.of(request)
    header = request.headers.get("authorization")
    written = Position()

    def event(value: Piece | domain.Execution) -> bytes:
        if isinstance(value, Piece):
            written.stdout, written.stderr = value.stdout, value.stderr
            name, data = str(value.stream), output_event(value).model_dump_json(exclude_none=True)
        else:
            name = "start" if value.state is domain.ExecutionState.RUNNING else "exit"
            data = answers.execution(value).model_dump_json()
        return f"event: {name}\nid: {written.stdout},{written.stderr}\ndata: {data}\n\n".encode()

    return events.EventStream(
        aclosing(following),
        event,
        request.state.request_id,
        # one that somebody waits for is a request like others, which the server's end leaves its time
        closing=None if foreground else services.closing,
        allowed=lambda: services.authenticator.confirm(header),
        left=left,
    )
