"""What can be done to an execution that runs: wait for it, end it, signal it, write to it."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import anyio

from vmpool.agent.base import Process
from vmpool.agent.messages import Reason
from vmpool.domain import VM, Execution, ExecutionState, TerminalSize
from vmpool.errors import (
    AgentRefused,
    AgentUnreachable,
    ExecutionEnded,
    InfrastructureFailure,
    InvalidRequest,
)
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import KILL_WAIT, Executions
from vmpool.pool.run import Run

Reference = int | str
FindVM = Callable[[int, Reference], Awaitable[VM]]
"""A user's VM by its id or name, going on if it was paused; raises VMNotFound."""
Read = Callable[[int, Reference, int], Awaitable[Execution]]
"""One execution of a user's VM, as it is known now; raises ExecutionNotFound."""

STDIN_PATIENCE = 30.0
"""Seconds a write to a program that does not read may take before it is answered how far it came."""


@dataclass(frozen=True, slots=True)
class StdinPosition:
    """How far a program's standard input was written.  closed: nothing can follow."""

    offset: int
    closed: bool


class Controls:
    """The verbs on executions in flight, each for one user.

    They raise VMNotFound, ExecutionNotFound, ExecutionEnded for what has ended, and AgentUnreachable, which
    passes, for what an earlier server has left and this one does not follow yet.
    """

    def __init__(self, context: Context, executions: Executions, find: FindVM, read: Read) -> None:
        self._context = context
        self._executions = executions
        self._find = find
        self._read = read

    async def until_ended(self, vm_id: int, execution_id: int) -> None:
        """Until it has ended, if it runs."""
        run = self._executions.find(vm_id, execution_id)
        if run is not None:
            await run.done.wait()

    async def result(self, vm_id: int, execution_id: int) -> Execution | None:
        """How it has ended, once it has; raises as `execute` does.  None for what does not run."""
        run = self._executions.find(vm_id, execution_id)
        if run is None:
            return None
        await run.done.wait()
        return run.result()

    async def cancel(
        self, user_id: int, reference: Reference, execution_id: int, grace: float | None = None
    ) -> Execution:
        """End it with everything it started, and answer its row; one that has ended stays as it is.

        grace: seconds between TERM and KILL; None: those of a stop.  Once asked for it is done, whoever stops
        waiting.  Raises AgentUnreachable where the agent does not do it.
        """
        vm = await self._find(user_id, reference)
        grace = self._context.settings.stop_grace if grace is None else grace
        try:
            run = await self._run(vm, execution_id)
        except ExecutionEnded:
            return await self._read(user_id, vm.id, execution_id)
        self._begin_end(run, grace)
        with anyio.move_on_after(grace + KILL_WAIT + self._context.settings.agent_patience):
            await run.done.wait()
            return await self._read(user_id, vm.id, execution_id)
        raise AgentUnreachable("the agent did not end it in time", dispatch="outcome_unknown")

    async def signal(
        self, user_id: int, reference: Reference, execution_id: int, number: int, *, tree: bool = False
    ) -> None:
        """Signal its main process, or with `tree` everything it started too."""
        process = await self._process(await self._find(user_id, reference), execution_id)
        await process.signal(number, tree=tree)

    async def resize(self, user_id: int, reference: Reference, execution_id: int, size: TerminalSize) -> None:
        """Tell its terminal how large it is shown; ExecutionEnded where it has none (any more)."""
        vm = await self._find(user_id, reference)
        await self._process(vm, execution_id)
        client = self._context.connections.get(key_of(vm))
        try:
            await client.resize(execution_id, size)
        except AgentRefused as error:
            ended = error.reason == Reason.UNKNOWN_EXECUTION
            raise ExecutionEnded(execution_id, *(() if ended else ("has no terminal",))) from error

    def end_forsaken(self) -> None:
        """End what nobody has read for as long as it was to go on so."""
        for run in self._executions.forsaken():
            if not run.cancelled:
                self._begin_end(run, self._context.settings.stop_grace)

    async def write_stdin(
        self,
        user_id: int,
        reference: Reference,
        execution_id: int,
        data: bytes,
        *,
        offset: int | None = None,
        close: bool = False,
        patience: float | None = STDIN_PATIENCE,
    ) -> StdinPosition:
        """Write to its standard input, then close it where asked to; how far it came within `patience`.

        offset: where `data` begins; what was written before is left out.  None: after everything.  patience:
        seconds; None: until all of it is written, or it ends.  Raises
        InvalidRequest for a gap, ExecutionEnded where nobody can read it.
        """
        vm = await self._find(user_id, reference)
        run = await self._run(vm, execution_id)
        process = await self._process(vm, execution_id)
        if run.writing is None:
            run.writing = anyio.Lock()
        with anyio.move_on_after(patience):
            async with run.writing:
                if not process.takes_stdin:
                    raise ExecutionEnded(execution_id, "takes no standard input (any more)")
                known = 0 if offset is None else process.stdin_sent - offset
                if known < 0:
                    raise InvalidRequest("offset", f"leaves a gap: {process.stdin_sent} bytes were written")
                try:
                    await process.write_stdin(data[known:])
                except AgentRefused as error:
                    raise ExecutionEnded(execution_id) from error
                if close:
                    await process.close_stdin()
        return StdinPosition(process.stdin_sent, not process.takes_stdin)

    # -- inside

    def _begin_end(self, run: Run, grace: float) -> None:
        run.cancelled = True
        self._context.tasks.start_soon(self._end, run, grace)

    async def _end(self, run: Run, grace: float) -> None:
        await run.taken.wait()
        if run.process is None:
            return
        with suppress(InfrastructureFailure):  # who waits for its end is told
            if grace > 0:
                await run.process.signal(_first_signal(run), tree=True)
                with anyio.move_on_after(grace):
                    await run.done.wait()
                    return
            await run.process.signal(signal.SIGKILL, tree=True)

    async def _process(self, vm: VM, execution_id: int) -> Process:
        run = await self._run(vm, execution_id)
        await run.taken.wait()
        if run.process is None or run.done.is_set:
            raise ExecutionEnded(execution_id)
        return run.process

    async def _run(self, vm: VM, execution_id: int) -> Run:
        """The one that runs; ExecutionNotFound, ExecutionEnded."""
        run = self._executions.find(vm.id, execution_id)
        if run is not None:
            return run
        row = await self._context.store.executions.get(vm.id, execution_id)
        if row.state is not ExecutionState.RUNNING:
            raise ExecutionEnded(execution_id)
        run = self._executions.find(vm.id, execution_id)
        if run is None:
            raise AgentUnreachable("this server does not follow it yet; try again in a moment")
        return run


def _first_signal(run: Run) -> int:
    """What asks it to end: of a terminal what the terminal's own end sends, since a shell is deaf to TERM."""
    in_terminal = run.execution is not None and run.execution.terminal
    return signal.SIGHUP if in_terminal else signal.SIGTERM
