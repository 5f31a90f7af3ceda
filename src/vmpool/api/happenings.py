"""The route of events: a list of what happened, or a stream of what happens."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.events import EventStream, is_wanted
from vmpool.api.paging import LINK_HEADER, Paged, link_next
from vmpool.api.schemas import Event
from vmpool.api.schemas.base import LARGEST_ID, Id
from vmpool.api.services import Services
from vmpool.domain import event as domain
from vmpool.errors import InvalidRequest

router = APIRouter(prefix="/api/events", tags=["events"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)

LONGEST_TYPES = 500
_NUMBER = re.compile(r"[0-9]{1,19}")
STREAM = (
    "Newest first. With `Accept: text/event-stream`, or `follow=true`, a stream in order: each event's `data`"
    " is an Event, its `id` the number to send back as `Last-Event-ID`. The first thing sent is an `id`"
    " without `data`: where the stream goes on from."
)


@router.get(
    "",
    operation_id="list_events",
    summary="What changed, and what changes",
    response_model=list[Event],
    responses={
        200: {
            "description": STREAM,
            "headers": LINK_HEADER,
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        410: {"description": "What followed this number is not kept any more: `events_gone`."},
    },
)
async def list_events(
    request: Request,
    response: Response,
    caller: Caller,
    page: Paged,
    vm: Annotated[
        str | None, Query(min_length=1, max_length=63, description="Of this VM only: its id or name.")
    ] = None,
    type: Annotated[
        str | None,
        Query(
            max_length=LONGEST_TYPES,
            description="Of these types, or families of them, only: `vm,execution.finished`.",
        ),
    ] = None,
    follow: Annotated[bool, Query(description="Send a stream.")] = False,
    after: Annotated[
        Id | None,
        Query(description="Begin the stream after this number; 0: at the oldest; default: from now on."),
    ] = None,
    last_event_id: Annotated[
        str | None, Header(max_length=40, description="Go on after this event; wins over `after`.")
    ] = None,
) -> Response | list[Event]:
    """Every change of your VMs, their executions and their snapshots; those of nobody else.

    `server.started` and `events.missing` come whatever was asked for: they say that others may be missing.
    """
    pool = Services.of(request).pool
    wanted = domain.Wanted(None if vm is None else pool.vm_id_of(caller.id, vm), _kinds(type))
    if not follow and not is_wanted(request):
        found = await pool.list_events(caller.id, wanted, limit=page.limit, before_id=page.before)
        link_next(request, response, page, [event.id for event in found])
        return [answers.event(event) for event in found]
    if last_event_id is not None:
        after = _position(last_event_id)
    return await _stream(request, caller.id, after, wanted)


async def _stream(request: Request, user_id: int, after: int | None, wanted: domain.Wanted) -> Response:
    services = Services.of(request)
    header = request.headers.get("authorization")

    def written(value: domain.Event | int) -> bytes:
        if isinstance(value, int):
            return b"id: %d\n\n" % value
        return b"id: %d\ndata: %b\n\n" % (value.id, answers.event(value).model_dump_json().encode())

    return EventStream(
        aclosing(await services.pool.follow_events(user_id, after, wanted)),
        written,
        request.state.request_id,
        closing=services.closing,
        allowed=lambda: services.authenticator.confirm(header),
    )


def _kinds(named: str | None) -> frozenset[str]:
    try:
        return domain.kinds_of(word for word in (named or "").split(",") if word)
    except ValueError as error:
        known = ", ".join((*domain.FAMILIES, *domain.KINDS))
        raise InvalidRequest("type", f"'{error}' is none; there are {known}") from error


def _position(event_id: str) -> int:
    if _NUMBER.fullmatch(event_id) is None or int(event_id) > LARGEST_ID:
        raise InvalidRequest("Last-Event-ID", "must be the id of an event of this stream, such as '1000412'")
    return int(event_id)
