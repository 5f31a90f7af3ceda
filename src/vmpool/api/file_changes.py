"""Changes of a VM's files, as they happen."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from vmpool.agent.watching import Change
from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.events import MEDIA_TYPE, EventStream
from vmpool.api.file_answers import DirectoryParameter, change
from vmpool.api.services import Services
from vmpool.api.vms import VMReference
from vmpool.pool.files import Watch

router = APIRouter(
    prefix="/api/vms/{vm_id}", tags=["files"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS
)

EVENTS = (
    "First `event: watching` with `{directories}`, once everything is watched: what is there then is to be"
    " looked at, what changes from then on is told. Then `event: change`, each with a `FileChange`, in order;"
    " `event: end` where what was watched is gone, `event: error` with a Problem where the VM is. There is no"
    " going on after a stream that was cut: watch again, and look anew."
)
EXAMPLE = (
    'event: watching\ndata: {"directories":3}\n\n'
    'event: change\ndata: {"kind":"changed","path":"src/a","encoded_path":"src/a","directory":false}\n\n'
)


@router.get(
    "/files/watch",
    operation_id="watch_files",
    summary="What changes in a directory, as it happens",
    response_class=Response,
    responses={
        200: {
            "description": EVENTS,
            "content": {
                MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/FileChange"}, "example": EXAMPLE}
            },
        },
        **answers.refusals(e409="Too much is watched in this VM already."),
    },
)
async def watch_files(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    path: DirectoryParameter,
    recursive: Annotated[bool, Query(description="Also what lies below it.")] = True,
) -> Response:
    """Of a directory, or of one file, which goes on where it is replaced. Links are not followed.

    A directory that comes to be is looked through, so that something in it may be told of twice. Watching is
    no use of the VM: one that is paused by itself tells nothing until it goes on.
    """
    services = Services.of(request)
    files = await services.pool.files_of(caller.id, vm_id)
    watch = await files.watch(path, recursive=recursive)
    header = request.headers.get("authorization")
    return EventStream(
        _following(watch),
        _event,
        request.state.request_id,
        end=lambda _: b"event: end\ndata: {}\n\n",
        closing=services.closing,
        allowed=lambda: services.authenticator.confirm(header),
    )


@asynccontextmanager
async def _following(watch: Watch) -> AsyncIterator[AsyncIterator[Change | int]]:
    async with aclosing(watch), aclosing(_all(watch)) as found:
        yield found


async def _all(watch: Watch) -> AsyncGenerator[Change | int, None]:
    yield watch.directories
    async for found in watch.changes():
        yield found


def _event(of: Change | int) -> bytes:
    if isinstance(of, int):
        return b'event: watching\ndata: {"directories":%d}\n\n' % of
    return f"event: change\ndata: {change(of).model_dump_json(exclude_none=True)}\n\n".encode()
