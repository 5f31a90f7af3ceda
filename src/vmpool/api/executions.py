"""Routes of executions that run: waiting for them, ending them, signals and standard input."""

from __future__ import annotations

from typing import Annotated

import anyio
from fastapi import APIRouter, Query
from starlette.requests import Request

from vmpool import domain
from vmpool.api import answers, events
from vmpool.api.auth import KEY_NEEDED, Caller
from vmpool.api.schemas import (
    CancelExecution,
    Execution,
    SignalExecution,
    StdinPosition,
    TerminalSize,
    WriteStdin,
)
from vmpool.api.schemas.base import Id
from vmpool.api.services import Services
from vmpool.api.vms import VMReference

router = APIRouter(
    prefix="/api/vms/{vm_id}/executions/{execution_id}",
    tags=["executions"],
    dependencies=KEY_NEEDED,
    responses=answers.PROBLEMS,
)

MAX_WAIT = 300.0
"""Seconds one request may wait."""
DEFAULT_WAIT = 30.0

ENDED = answers.refusals(e409="It has ended.")


@router.get("/wait", operation_id="wait_for_execution", summary="Wait for an execution's end")
async def wait_for_execution(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    execution_id: Id,
    timeout: Annotated[
        float, Query(ge=0, le=MAX_WAIT, description="Seconds; then it is answered as it is.")
    ] = DEFAULT_WAIT,
) -> Execution:
    """Answers once it has ended, or as it is when the time is over or the server ends: see `state`."""
    services = Services.of(request)
    pool = services.pool
    execution = await pool.get_execution(caller.id, vm_id, execution_id)
    with anyio.move_on_after(timeout):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(events.when_closing, services.closing, tasks.cancel_scope.cancel)
            await pool.controls.until_ended(execution.vm_id, execution_id)
            tasks.cancel_scope.cancel()
    return answers.execution(await pool.get_execution(caller.id, execution.vm_id, execution_id))


@router.post("/cancel", operation_id="cancel_execution", summary="End an execution")
async def cancel_execution(
    request: Request,
    caller: Caller,
    vm_id: VMReference,
    execution_id: Id,
    body: CancelExecution | None = None,
) -> Execution:
    """With everything it started: TERM, and KILL after `grace`. Answers how it ended.

    One that has ended before is answered as it is.
    """
    grace = None if body is None else body.grace
    controls = Services.of(request).pool.controls
    return answers.execution(await controls.cancel(caller.id, vm_id, execution_id, grace))


@router.post(
    "/signal",
    status_code=204,
    operation_id="signal_execution",
    summary="Send an execution a signal",
    responses=ENDED,
)
async def signal_execution(
    request: Request, caller: Caller, vm_id: VMReference, execution_id: Id, body: SignalExecution
) -> None:
    """To its main process, or with `tree` to everything it started too."""
    controls = Services.of(request).pool.controls
    await controls.signal(caller.id, vm_id, execution_id, body.number, tree=body.tree)


@router.post(
    "/resize",
    status_code=204,
    operation_id="resize_terminal",
    summary="Tell an execution's terminal its size",
    responses=answers.refusals(e409="It has ended, or has no terminal."),
)
async def resize_terminal(
    request: Request, caller: Caller, vm_id: VMReference, execution_id: Id, body: TerminalSize
) -> None:
    """Of one that was begun with `terminal`. What runs in it is told (SIGWINCH)."""
    controls = Services.of(request).pool.controls
    await controls.resize(caller.id, vm_id, execution_id, domain.TerminalSize(body.columns, body.rows))


@router.post(
    "/stdin",
    operation_id="write_stdin",
    summary="Write to an execution's standard input",
    responses=answers.refusals(e409="It has ended, or its standard input is not open."),
)
async def write_stdin(
    request: Request, caller: Caller, vm_id: VMReference, execution_id: Id, body: WriteStdin
) -> StdinPosition:
    """Of one that was begun with `stdin_open`. Answers how far its input was written.

    A program that does not read takes about 128 KiB; after some seconds less is answered than was sent. Send
    the rest again from there, with `offset`.
    """
    controls = Services.of(request).pool.controls
    position = await controls.write_stdin(
        caller.id, vm_id, execution_id, body.data, offset=body.offset, close=body.close
    )
    return StdinPosition(offset=position.offset, closed=position.closed)
