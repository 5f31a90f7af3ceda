"""Routes of one snapshot: what is known of it, and the way out and in as one file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.record import note
from vmpool.api.schemas import Snapshot
from vmpool.api.schemas.base import Id, ShortText
from vmpool.api.services import Services
from vmpool.api.streaming import Streamed, body_of
from vmpool.api.vms import VMReference
from vmpool.snapshot_file import MEDIA_TYPE

router = APIRouter(prefix="/api/vms", tags=["history"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)

_CONTENT: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
MOST_DISKS = 3
"""A file is at most so many times as long as the VM's disk is large; the rest is refused unread."""


@router.get(
    "/{vm_id}/snapshots/{snapshot_id}", operation_id="get_snapshot", summary="What is known of a snapshot"
)
async def get_snapshot(request: Request, caller: Caller, vm_id: VMReference, snapshot_id: Id) -> Snapshot:
    """What it takes, what it stands on, and the snapshot it came after."""
    return answers.snapshot(await Services.of(request).pool.get_snapshot(caller.id, vm_id, snapshot_id))


@router.get(
    "/{vm_id}/snapshots/{snapshot_id}/export",
    operation_id="export_snapshot",
    summary="A snapshot as one file",
    response_class=Response,
    responses={
        200: {"description": "An archive: manifest, layers, checksums.", "content": _CONTENT},
        **answers.refusals(e409="It is damaged, too large, or what it stands on is gone."),
    },
)
async def export_snapshot(request: Request, caller: Caller, vm_id: VMReference, snapshot_id: Id) -> Response:
    """Proved whole before the first byte; `Content-Length` says how long it is.

    It says itself what it was taken of and stands on, and ends with SHA-256 checksums of all that is in it.
    """
    export = await Services.of(request).pool.export_snapshot(caller.id, vm_id, snapshot_id)
    headers = {
        "Content-Length": str(export.length),
        "Content-Disposition": f'attachment; filename="snapshot-{snapshot_id}.tar"',
    }
    return Streamed(export.pieces, Response(None, 200, headers, MEDIA_TYPE), export.aclose)


@router.post(
    "/{vm_id}/snapshots/import",
    status_code=201,
    operation_id="import_snapshot",
    summary="Keep an exported snapshot as one of this VM",
    response_model=Snapshot,
    openapi_extra={"requestBody": {"description": "What an export gave.", "content": _CONTENT}},
    responses=answers.refusals(
        e409="It stands on another base, is too large for the VM's disk, or the name is taken.",
        e413="It is longer than anything that could be in the VM.",
        e422="It is no snapshot file, is damaged or cut short, or holds what none may hold.",
    ),
)
async def import_snapshot(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    name: Annotated[
        ShortText | None, Query(description="Default: the one it had, or another where that is taken.")
    ] = None,
) -> Response:
    """The VM's files stay as they are; restore it to have these.  Nothing is kept of a refused file."""
    pool = Services.of(request).pool
    vm = await pool.get_vm(caller.id, vm_id)
    announced, most = request.headers.get("content-length", "0"), MOST_DISKS * vm.limits.disk << 20
    if not announced.isdecimal() or int(announced) > most:
        raise HTTPException(413, f"the body is longer than {most} bytes")
    kept = await pool.import_snapshot(caller.id, vm_id, name, body_of(request))
    note(request, snapshot_id=kept.id)
    return answers.send(answers.snapshot(kept), 201)
