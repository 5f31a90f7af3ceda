"""The route that runs code: answered at its end, at its beginning, or with everything in between.

The plain kind is served by `vmpool.api.shortcut`; what comes here is refused, or asks for more.
"""

from __future__ import annotations

import anyio
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from vmpool import domain
from vmpool.api import answers, events, streams
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.idempotency import KEY_HEADER, IdempotencyKey
from vmpool.api.schemas import ExecuteRequest, Execution
from vmpool.api.services import Services
from vmpool.api.vms import VMReference, once
from vmpool.errors import InvalidRequest, VMPoolError

router = APIRouter(prefix="/api/vms", tags=["vms"], dependencies=KEY_NEEDED, responses=answers.PROBLEMS)


@router.post(
    "/{vm_id}/execute",
    operation_id="execute",
    summary="Run code in a VM",
    response_model=Execution,
    responses={
        200: {
            "description": "It has ended. As events: first `event: start` with the Execution as it begins,"
            " then " + streams.EVENTS,
            "content": streams.STREAM["content"],
        },
        202: {
            "description": "It runs, in the background.",
            "model": Execution,
            "headers": {"Location": {"description": "Its own path.", "schema": {"type": "string"}}},
        },
    },
)
async def execute(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    body: ExecuteRequest,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Answers when the program has ended; in the background, when it has begun.

    A program that fails, is killed or exceeds its time is a result like any other: see `exit_code`,
    `timed_out` and `oom_killed`.  A VM that is not running is 409.  With `Accept: text/event-stream` its
    output is sent as it comes.
    """
    services = Services.of(request)
    asked = services.defaults.special_execution(body)
    if events.is_wanted(request):
        if idempotency_key is not None:
            raise InvalidRequest(KEY_HEADER, "is not for events: begin it in the background, and stream it")
        execution = await services.pool.start_execution(caller.id, vm_id, asked)
        return await streams.begun(request, caller, execution, cancel=body.cancel_on_disconnect)
    if asked.background and body.cancel_on_disconnect:
        raise InvalidRequest("cancel_on_disconnect", "nobody waits for what runs in the background")

    async def act() -> Response:
        if asked.background:
            return answers.accepted(await services.pool.start_execution(caller.id, vm_id, asked))
        if body.cancel_on_disconnect:
            return answers.send(answers.execution(await _while_waited_for(request, caller.id, vm_id, asked)))
        return answers.send(answers.execution(await services.pool.execute(caller.id, vm_id, asked)))

    return await once(request, caller, idempotency_key, body, act)


async def _while_waited_for(
    request: Request, user_id: int, vm: str, asked: domain.ExecutionRequest
) -> domain.Execution:
    """Its end, brought about where the one who waits goes away."""
    pool = Services.of(request).pool
    execution = await pool.start_execution(user_id, vm, asked)
    gone = anyio.Event()
    ended: domain.Execution | None = None
    failure: VMPoolError | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(events.when_gone, request.receive, gone, tasks.cancel_scope.cancel)
        try:
            ended = await pool.controls.result(execution.vm_id, execution.id)
        except VMPoolError as error:  # carried past the group, which would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if gone.is_set():
        return await pool.controls.cancel(user_id, execution.vm_id, execution.id)
    return ended or await pool.get_execution(user_id, execution.vm_id, execution.id)
