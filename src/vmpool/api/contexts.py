"""Routes of contexts: kernels in a VM that remember from one cell to the next."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vmpool.api import answers, events
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.idempotency import IdempotencyKey
from vmpool.api.schemas import CellOutput, CellResult, CodeContext, CreateContext, RunCell
from vmpool.api.schemas.base import Id
from vmpool.api.services import Services
from vmpool.api.vms import VMReference, once
from vmpool.domain import code_context
from vmpool.domain.code_context import Raised, Shown, Text
from vmpool.pool.contexts.cell import Cell

router = APIRouter(
    prefix="/api/vms/{vm_id}/contexts",
    tags=["contexts"],
    dependencies=KEY_NEEDED,
    responses=answers.PROBLEMS,
)

EVENTS = (
    "`event: output` with a `CellOutput` for each, as it comes; at last `event: end` with a `CellResult`"
    " without outputs, or `event: error` with a Problem. Lines that begin with a colon are comments."
)
EXAMPLE = (
    'event: output\ndata: {"type":"result","data":{"text/plain":"42"}}\n\n'
    'event: end\ndata: {"number":2,"state":"ok","outputs":[],"truncated":false,"execution_time":0.001}\n\n'
)
STREAM: dict[str, object] = {
    "description": f"It has ended. As events: {EVENTS}",
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "description": "One event.",
                "properties": {name: {"type": "string"} for name in ("event", "data")},
            },
            "example": EXAMPLE,
        }
    },
}


@router.post(
    "",
    status_code=201,
    operation_id="create_context",
    summary="Start a kernel that remembers",
    response_model=CodeContext,
    responses=answers.refusals(
        e409="The VM is not running.",
        e422="A field is wrong, or there is no such kernel in this VM.",
        e429="The VM has as many contexts as allowed (`too_many_contexts`).",
    ),
)
async def create_context(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    body: CreateContext | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Answers once it takes cells. It ends with the VM's stop, restore or deletion, not with the server."""
    pool = Services.of(request).pool
    asked = body or CreateContext()

    async def act() -> Response:
        vm = await pool.awake(caller.id, vm_id)
        made = await pool.contexts.create(vm, asked.language, asked.cwd, asked.env)
        return answers.send(_context(made), 201)

    return await once(request, caller, idempotency_key, body, act)


@router.get("", operation_id="list_contexts", summary="A VM's contexts")
async def list_contexts(request: Request, caller: Caller, vm_id: VMReference) -> list[CodeContext]:
    """Newest first, dead ones included; 16 at most."""
    pool = Services.of(request).pool
    return [_context(one) for one in await pool.contexts.list(await pool.awake(caller.id, vm_id))]


@router.get("/{context_id}", operation_id="get_context", summary="One context")
async def get_context(request: Request, caller: Caller, vm_id: VMReference, context_id: Id) -> CodeContext:
    """As it is now."""
    pool = Services.of(request).pool
    return _context(await pool.contexts.get(await pool.awake(caller.id, vm_id), context_id))


@router.delete(
    "/{context_id}", status_code=204, operation_id="delete_context", summary="End a context for good"
)
async def delete_context(request: Request, caller: Caller, vm_id: VMReference, context_id: Id) -> None:
    """With everything its cells have started."""
    pool = Services.of(request).pool
    await pool.contexts.delete(await pool.awake(caller.id, vm_id), context_id)


@router.post(
    "/{context_id}/execute",
    operation_id="run_cell",
    summary="Run a cell",
    response_model=CellResult,
    responses={
        200: STREAM,
        **answers.refusals(
            e409="The VM is not running, or the context is dead (`context_dead`).",
            e429="64 cells wait for their turn already (`too_many_cells`).",
        ),
    },
)
async def run_cell(
    request: Request, caller: Caller, vm_id: VMReference, context_id: Id, body: RunCell
) -> Response:
    """Cells of one context run one after the other. A cell that raises is a result like any other.

    Who goes away leaves it running. With `Accept: text/event-stream` its outputs are sent as they come.
    """
    services = Services.of(request)
    pool = services.pool
    timeout = services.defaults.timeout if body.timeout is None else body.timeout
    cell = await pool.contexts.run(await pool.awake(caller.id, vm_id), context_id, body.code, timeout)
    if events.is_wanted(request):
        header = request.headers.get("authorization")
        return events.EventStream(
            aclosing(_events(cell)),
            lambda event: event,
            request.state.request_id,
            closing=services.closing,
            allowed=lambda: services.authenticator.confirm(header),
        )
    await cell.done.wait()
    return answers.send(_result(cell.result, whole=True))


@router.post(
    "/{context_id}/interrupt",
    operation_id="interrupt_context",
    summary="Interrupt the cell that runs",
    responses=answers.refusals(e409="The context is dead."),
)
async def interrupt_context(
    request: Request, caller: Caller, vm_id: VMReference, context_id: Id
) -> CodeContext:
    """As Ctrl-C does: the cell that runs and what it has started; those in line stay, and so does what the
    context remembers. Without one that runs it changes nothing."""
    pool = Services.of(request).pool
    return _context(await pool.contexts.interrupt(await pool.awake(caller.id, vm_id), context_id))


@router.post(
    "/{context_id}/restart",
    operation_id="restart_context",
    summary="Begin again with nothing",
    responses=answers.refusals(e409="The VM is not running."),
)
async def restart_context(
    request: Request, caller: Caller, vm_id: VMReference, context_id: Id
) -> CodeContext:
    """A new kernel in place of the old one, dead or alive."""
    pool = Services.of(request).pool
    return _context(await pool.contexts.restart(await pool.awake(caller.id, vm_id), context_id))


async def _events(cell: Cell) -> AsyncGenerator[bytes, None]:
    async with aclosing(cell.follow()) as outputs:
        async for output in outputs:
            yield b"event: output\ndata: %b\n\n" % _output(output).model_dump_json(exclude_none=True).encode()
    yield b"event: end\ndata: %b\n\n" % _result(cell.result, whole=False).model_dump_json().encode()


def _context(of: code_context.CodeContextView) -> CodeContext:
    context = of.context
    return CodeContext(
        id=context.id,
        vm_id=context.vm_id,
        language=context.language,
        state=of.state.value,
        cells=of.cells,
        waiting=of.waiting,
        cwd=context.cwd,
        failure=context.failure,
        created_at=answers.stamp(context.created_at),
    )


def _output(of: code_context.CellOutput) -> CellOutput:
    match of:
        case Text():
            return CellOutput(type="stderr" if of.stream == "stderr" else "stdout", text=of.text)
        case Shown():
            # Parsed as JSON already, with its bounds; to look at all of it again would cost what it holds.
            return CellOutput.model_construct(type="result" if of.result else "display", data=of.forms)
        case Raised():
            return CellOutput(type="error", name=of.name, value=of.value, traceback=of.trace)


def _result(of: code_context.CellResult, *, whole: bool) -> CellResult:
    return CellResult(
        number=of.number,
        state=of.state.value,
        outputs=[_output(output) for output in of.outputs] if whole else [],
        truncated=of.truncated,
        execution_time=of.seconds,
    )
