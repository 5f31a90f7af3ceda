"""Routes of what is kept of a VM: its executions and its snapshots."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers, ranges
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.paging import LINK_HEADER, Paged, link_next
from vmpool.api.schemas import Execution, Snapshot
from vmpool.api.schemas.base import Id
from vmpool.api.services import Services
from vmpool.api.vms import VMReference
from vmpool.domain import ExecutionState
from vmpool.pool.spool import Stream

router = APIRouter(prefix="/api/vms", tags=["history"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)

NEWEST_FIRST: dict[int | str, dict[str, object]] = {
    200: {"description": "Newest first.", "headers": LINK_HEADER}
}


@router.get(
    "/{vm_id}/executions",
    operation_id="list_executions",
    summary="What ran in a VM",
    responses=NEWEST_FIRST,
)
async def list_executions(
    request: Request,
    response: Response,
    caller: Caller,
    vm_id: VMReference,
    page: Paged,
    state: Annotated[ExecutionState | None, Query(description="Only those in this state.")] = None,
) -> list[Execution]:
    """Newest first, those that still run too.

    With `state=running` one may be among them that has ended just now: its own `state` says so.
    """
    pool = Services.of(request).pool
    found = await pool.list_executions(caller.id, vm_id, limit=page.limit, before_id=page.before, state=state)
    link_next(request, response, page, [execution.id for execution in found])
    return [answers.execution(execution) for execution in found]


@router.get("/{vm_id}/executions/{execution_id}", operation_id="get_execution", summary="One execution")
async def get_execution(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    execution_id: Id,
) -> Execution:
    """Its `state` says whether it still runs."""
    return answers.execution(await Services.of(request).pool.get_execution(caller.id, vm_id, execution_id))


@router.get(
    "/{vm_id}/executions/{execution_id}/output",
    operation_id="get_output",
    summary="What an execution wrote, whole",
    response_class=Response,
    responses=ranges.ANSWERS,
)
async def get_output(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    execution_id: Id,
    stream: Annotated[Stream, Query(description="Which of the two.")] = "stdout",
    offset: Annotated[Id, Query(description="Bytes to leave out before it.")] = 0,
    range: Annotated[
        str | None, Header(max_length=200, description="`bytes=first-last`; not with `offset`.")
    ] = None,
) -> Response:
    """The bytes of one stream exactly as they were written, however many there are.

    Of an execution that still runs, as many as have come so far (`X-Execution-State: running`): ask again
    from there with `offset`.  Where `dropped` is not 0, only the beginning was kept, or nothing
    (`output_not_kept`).
    """
    stored = await Services.of(request).pool.output(caller.id, vm_id, execution_id, stream)
    return ranges.send(stored, offset, range)


@router.get(
    "/{vm_id}/snapshots",
    operation_id="list_snapshots",
    summary="A VM's snapshots",
    responses=NEWEST_FIRST,
)
async def list_snapshots(
    request: Request, response: Response, caller: Caller, vm_id: VMReference, page: Paged
) -> list[Snapshot]:
    """Newest first."""
    pool = Services.of(request).pool
    found = await pool.list_snapshots(caller.id, vm_id, limit=page.limit, before_id=page.before)
    link_next(request, response, page, [snapshot.id for snapshot in found])
    return [answers.snapshot(snapshot) for snapshot in found]


@router.delete(
    "/{vm_id}/snapshots/{snapshot_id}",
    status_code=204,
    operation_id="delete_snapshot",
    summary="Remove a snapshot",
)
async def delete_snapshot(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    snapshot_id: Id,
) -> None:
    """The VM stays as it is."""
    await Services.of(request).pool.delete_snapshot(caller.id, vm_id, snapshot_id)
