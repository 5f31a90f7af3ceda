"""The specification's routes.  `{vm_id}` takes an id or a name everywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers, events
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.idempotency import IdempotencyKey
from vmpool.api.paging import LINK_HEADER, Paged, link_next
from vmpool.api.record import note
from vmpool.api.schemas import (
    VM,
    BatchError,
    BatchExecuteRequest,
    ChangeLimits,
    CreateSnapshot,
    CreateVM,
    Execution,
    ForkRequest,
    LogEntry,
    PoolStatus,
    RestoreRequest,
    Snapshot,
    VMStatus,
)
from vmpool.api.services import Services
from vmpool.domain import Principal
from vmpool.pool.batch import in_order
from vmpool.pool.logs import DEFAULT_TAIL

router = APIRouter(prefix="/api/vms", tags=["vms"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)

VMReference = Annotated[str, Path(max_length=63, description="The VM's id or its name.")]
"""Which VM."""
Tail = Annotated[int, Query(ge=0, le=10_000, description="How many executions of the history at most.")]

BATCH_ANSWERS = (
    "All items, once the last is there, in the order of the request. As events: each item as it comes, "
    '`data: {"place": n, "item": ...}` with its place in the request counted from 0; at last `event: end` '
    "with the number of items, or `event: error` with a Problem where the server could not go on. A stream "
    "without either has been cut. Lines that begin with a colon keep the connection open."
)
BATCH_EXAMPLE = (
    'data: {"place":1,"item":{"id":8,"vm_id":2,"output":"4\\n","exit_code":0}}\n\n'
    'data: {"place":0,"item":{"id":7,"vm_id":1,"output":"4\\n","exit_code":0}}\n\n'
    'event: end\ndata: {"items":2}\n\n'
)


# The paths without `{vm_id}` come first: the first path that matches is taken.


@router.post(
    "/create",
    status_code=201,
    operation_id="create_vm",
    summary="Make a VM and start it",
    response_model=VM,
    responses=answers.refusals(
        e409="You have a VM of this name.",
        e422="A field is wrong; `errors` names it.",
        e429="You have as many VMs as allowed.",
        e503="The pool is full, or the backend does not answer.",
    ),
)
async def create_vm(
    request: Request, caller: Caller, body: CreateVM, idempotency_key: IdempotencyKey = None
) -> Response:
    """Answers once code can run in it.  The 11th VM is 429 and a full pool 503, both with Retry-After."""
    services = Services.of(request)

    async def act() -> Response:
        made = await services.pool.create_vm(caller.id, services.defaults.vm(body))
        note(request, target=f"vm_id={made.id}", name=made.name)
        return answers.send(answers.vm(made), 201)

    return await once(request, caller, idempotency_key, body, act)


@router.get(
    "",
    operation_id="list_vms",
    summary="Your VMs",
    responses={200: {"description": "Newest first.", "headers": LINK_HEADER}},
)
async def list_vms(request: Request, response: Response, caller: Caller, page: Paged) -> list[VM]:
    """Newest first."""
    found = await Services.of(request).pool.list_vms(caller.id, limit=page.limit, before_id=page.before)
    link_next(request, response, page, [vm.id for vm in found])
    return [answers.vm(vm) for vm in found]


@router.get("/pool-status", operation_id="pool_status", summary="Limits, use, backend and host figures")
async def pool_status(request: Request, caller: Caller) -> PoolStatus:
    """What the pool allows, what is taken, where the VMs come from and what holds each limit."""
    services = Services.of(request)
    found = await services.pool.pool_status(caller.id)
    return answers.pool_status(found, services.backend_reason, caller.user.max_vms)


@router.post(
    "/batch-execute",
    operation_id="batch_execute",
    summary="Run code in several VMs at once",
    response_model=list[Execution | BatchError],
    responses={
        200: {
            "description": BATCH_ANSWERS,
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": BATCH_EXAMPLE}},
        }
    },
)
async def batch_execute(request: Request, caller: Caller, body: BatchExecuteRequest) -> Response:
    """An item for each VM, in the order of `vm_ids`: an execution, or `{vm_id, error}`.

    One VM's failure is that item's, not the batch's.  With `Accept: text/event-stream` each item is sent as
    soon as that VM's code has ended.  A caller that goes away leaves everything running and recorded.
    """
    services = Services.of(request)
    asked = services.defaults.execution(body)
    batch = services.pool.batch(caller.id, asked, body.vm_ids)
    if events.is_wanted(request):
        return events.batch_stream(request, batch)
    return answers.send_batch(await in_order(batch), request.state.request_id)


@router.get("/{vm_id}", operation_id="get_vm", summary="One VM")
async def get_vm(request: Request, caller: Caller, vm_id: VMReference) -> VM:
    """An unknown VM and somebody else's are both 404."""
    return answers.vm(await Services.of(request).pool.get_vm(caller.id, vm_id))


@router.patch(
    "/{vm_id}",
    operation_id="change_limits",
    summary="Give a VM other limits",
    responses=answers.refusals(
        e409="The VM is neither running nor stopped.",
        e422="A limit no VM here can have, or that cannot change now; `errors` names it.",
        e503="The pool has no room for more, or the backend does not answer.",
    ),
)
async def change_limits(request: Request, caller: Caller, vm_id: VMReference, body: ChangeLimits) -> VM:
    """They hold when this answers: CPU, memory and processes of a running VM too.

    A hard disk grows while the VM is stopped, and never shrinks.  Less memory than the VM uses is refused
    with 502 and changes nothing.
    """
    services = Services.of(request)
    asked = services.defaults.limits_of(body)
    return answers.vm(await services.pool.change_limits(caller.id, vm_id, asked))


@router.delete("/{vm_id}", status_code=204, operation_id="delete_vm", summary="Destroy a VM with its files")
async def delete_vm(request: Request, caller: Caller, vm_id: VMReference) -> None:
    """Ends what runs in it.  The history of its executions is kept for a while."""
    await Services.of(request).pool.delete_vm(caller.id, vm_id)


@router.post("/{vm_id}/start", operation_id="start_vm", summary="Start a stopped VM")
async def start_vm(request: Request, caller: Caller, vm_id: VMReference) -> VM:
    """With the files it had.  A running VM stays as it is."""
    return answers.vm(await Services.of(request).pool.start_vm(caller.id, vm_id))


@router.post("/{vm_id}/stop", operation_id="stop_vm", summary="Stop a VM")
async def stop_vm(request: Request, caller: Caller, vm_id: VMReference) -> VM:
    """Ends what runs in it and keeps its files.  A stopped VM stays as it is."""
    return answers.vm(await Services.of(request).pool.stop_vm(caller.id, vm_id))


@router.post("/{vm_id}/pause", operation_id="pause_vm", summary="Hold a VM where it is")
async def pause_vm(request: Request, caller: Caller, vm_id: VMReference) -> VM:
    """With its memory: services and idle contexts are as they were when it goes on.  It computes nothing.

    409 while an execution or a cell runs in it that has a time limit, which would go on.  What needs the VM
    lets it go on by itself: code, files, ports, contexts.  A paused VM stays as it is.
    """
    return answers.vm(await Services.of(request).pool.pause_vm(caller.id, vm_id))


@router.post("/{vm_id}/resume", operation_id="resume_vm", summary="Let a paused VM go on")
async def resume_vm(request: Request, caller: Caller, vm_id: VMReference) -> VM:
    """A running VM stays as it is."""
    return answers.vm(await Services.of(request).pool.resume_vm(caller.id, vm_id))


@router.post("/{vm_id}/restart", operation_id="restart_vm", summary="Stop a VM and start it")
async def restart_vm(request: Request, caller: Caller, vm_id: VMReference) -> VM:
    """Ends what runs in it; its files stay."""
    return answers.vm(await Services.of(request).pool.restart_vm(caller.id, vm_id))


@router.get("/{vm_id}/status", operation_id="vm_status", summary="Live figures of a VM")
async def vm_status(request: Request, caller: Caller, vm_id: VMReference) -> VMStatus:
    """CPU, memory, disk and processes; null where this host has no way to know."""
    return answers.vm_status(await Services.of(request).pool.status(caller.id, vm_id))


@router.get(
    "/{vm_id}/logs",
    operation_id="vm_logs",
    summary="What ran in a VM has written",
    response_model=list[LogEntry],
    responses={
        200: {
            "description": "Oldest first. With `follow=true` a stream of events, each a LogEntry.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        }
    },
)
async def vm_logs(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    tail: Tail = DEFAULT_TAIL,
    follow: Annotated[bool, Query(description="Stay and send what is written from now on.")] = False,
) -> Response:
    """The output of the last `tail` executions, and with `follow` everything after it as it is written."""
    services = Services.of(request)
    if follow:
        return events.log_stream(request, await services.pool.follow(caller.id, vm_id, tail))
    return answers.send_logs(await services.pool.logs(caller.id, vm_id, tail))


@router.post(
    "/{vm_id}/snapshot",
    status_code=201,
    operation_id="create_snapshot",
    summary="Keep a VM's files as they are now",
    response_model=Snapshot,
)
async def create_snapshot(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    body: CreateSnapshot | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Of a running or a stopped VM, consistently."""
    services = Services.of(request)
    name = None if body is None else body.name

    async def act() -> Response:
        kept = await services.pool.snapshot(caller.id, vm_id, name)
        note(request, snapshot_id=kept.id)
        return answers.send(answers.snapshot(kept), 201)

    return await once(request, caller, idempotency_key, body, act)


@router.post(
    "/{vm_id}/fork",
    status_code=201,
    operation_id="fork_vm",
    summary="Make copies of a VM",
    response_model=list[VM],
    responses=answers.refusals(
        e409="You have a VM of one of these names, or the VM is in no state to be copied.",
        e422="A field is wrong; `errors` names it.",
        e429="You have as many VMs as allowed.",
        e503="The pool is full, or the backend does not answer.",
    ),
)
async def fork_vm(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    body: ForkRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """New VMs with the files of this one as they are now, and limits, network and variables as it has them.

    Answers once code can run in all of them; otherwise none is made. What runs in the VM goes on there and is
    not copied; it is held for the moment in which its files are.
    """
    services = Services.of(request)
    asked = body or ForkRequest()

    async def act() -> Response:
        made = await services.pool.fork(caller.id, vm_id, asked.number, asked.names)
        note(request, target=f"vm_id={vm_id}", names=" ".join(vm.name for vm in made))
        return answers.send_all([answers.vm(vm) for vm in made], 201)

    return await once(request, caller, idempotency_key, body, act)


@router.post("/{vm_id}/restore", operation_id="restore_vm", summary="Put a VM's files back")
async def restore_vm(request: Request, caller: Caller, vm_id: VMReference, body: RestoreRequest) -> VM:
    """To what one of its snapshots kept.  Ends what runs in it; the VM runs afterwards."""
    note(request, snapshot_id=body.snapshot_id)
    return answers.vm(await Services.of(request).pool.restore(caller.id, vm_id, body.snapshot_id))


async def once(
    request: Request,
    caller: Principal,
    key: str | None,
    body: BaseModel | None,
    act: Callable[[], Awaitable[Response]],
) -> Response:
    """Do it, or answer what the same key was answered before."""
    route = f"{request.method} {request.url.path}"
    return await Services.of(request).once.run(route, request.state.request_id, caller, key, body, act)
