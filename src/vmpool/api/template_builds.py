"""Routes of builds of templates."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.events import EventStream, is_wanted
from vmpool.api.history import NEWEST_FIRST
from vmpool.api.paging import Paged, link_next
from vmpool.api.schemas import BuildOutput, TemplateBuild
from vmpool.api.schemas.base import LARGEST_ID, Id
from vmpool.api.services import Services
from vmpool.domain.template_build import Build
from vmpool.errors import InvalidRequest

router = APIRouter(
    prefix="/api/template-builds", tags=["templates"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS
)

BuildId = Annotated[Id, Path(description="The build's id.")]
LOG = (
    "The log so far. With `Accept: text/event-stream` a stream: `event: log`, each with a `BuildOutput`, its"
    " `id` the place after it, to be sent back as `Last-Event-ID`; at last `event: end` with the build. A"
    " stream without that has been cut (the server ended): ask again."
)
_PLACE = re.compile(r"[0-9]{1,19}")


@router.get("", operation_id="list_builds", summary="Your builds of templates", responses=NEWEST_FIRST)
async def list_builds(
    request: Request, response: Response, caller: Caller, page: Paged
) -> list[TemplateBuild]:
    """Newest first: those under way, and the last 50 that have ended."""
    builds = Services.of(request).pool.builds
    found = await builds.list(caller.id, limit=page.limit, before_id=page.before)
    link_next(request, response, page, [one.id for one in found])
    return [answers.template_build(one) for one in found]


@router.get("/{build_id}", operation_id="get_build", summary="One build of a template")
async def get_build(request: Request, caller: Caller, build_id: BuildId) -> TemplateBuild:
    """Its `state` says whether it is under way."""
    return answers.template_build(await Services.of(request).pool.builds.get(caller.id, build_id))


@router.post("/{build_id}/cancel", operation_id="cancel_build", summary="End a build")
async def cancel_build(request: Request, caller: Caller, build_id: BuildId) -> TemplateBuild:
    """Its VM goes; what is kept after steps that were done stays for the next build."""
    return answers.template_build(await Services.of(request).pool.builds.cancel(caller.id, build_id))


@router.get(
    "/{build_id}/log",
    operation_id="build_log",
    summary="What a build writes",
    response_class=Response,
    responses={
        200: {
            "description": LOG,
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "text/event-stream": {"schema": {"$ref": "#/components/schemas/BuildOutput"}},
            },
        }
    },
)
async def build_log(
    request: Request,
    caller: Caller,
    build_id: BuildId,
    offset: Annotated[Id, Query(description="Bytes to leave out before it.")] = 0,
    last_event_id: Annotated[
        str | None, Header(max_length=40, description="Go on after this event; wins over `offset`.")
    ] = None,
) -> Response:
    """Both streams of every step, as they came, and what the server says between them."""
    services = Services.of(request)
    builds = services.pool.builds
    if not is_wanted(request):
        text = await builds.log(caller.id, build_id, offset)
        return Response(text, media_type="text/plain; charset=utf-8")
    if last_event_id is not None:
        offset = _place(last_event_id)
    header = request.headers.get("authorization")
    following = await builds.follow(caller.id, build_id, offset)
    return EventStream(
        aclosing(following),
        _event,
        request.state.request_id,
        closing=services.closing,
        allowed=lambda: services.authenticator.confirm(header),
    )


def _event(value: tuple[int, bytes] | Build) -> bytes:
    if isinstance(value, Build):
        return b"event: end\ndata: %b\n\n" % answers.template_build(value).model_dump_json().encode()
    place, data = value
    said = BuildOutput(offset=place, text=data.decode("utf-8", "replace")).model_dump_json()
    return b"event: log\nid: %d\ndata: %b\n\n" % (place + len(data), said.encode())


def _place(event_id: str) -> int:
    if _PLACE.fullmatch(event_id) is None or int(event_id) > LARGEST_ID:
        raise InvalidRequest("Last-Event-ID", "must be the id of an event of this stream, such as '4096'")
    return int(event_id)
