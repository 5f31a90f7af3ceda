"""An execution's output as it comes, from any position on, and its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from vmpool.domain import Execution, ExecutionState
from vmpool.errors import AgentUnreachable
from vmpool.pool.context import Context
from vmpool.pool.controls import Read, Reference
from vmpool.pool.executions import Executions
from vmpool.pool.run import Run
from vmpool.pool.watch import Piece, Position, Reader


class Streams:
    """Readers of executions, each for one user."""

    def __init__(self, context: Context, executions: Executions, read: Read) -> None:
        self._context = context
        self._executions = executions
        self._read = read

    async def follow(
        self, user_id: int, reference: Reference, execution_id: int, at: Position, tail: int | None = None
    ) -> AsyncGenerator[Piece | Execution, None]:
        """Everything it has written and writes from `at` on, each stream in order; at last its settled row.

        tail: begin so many bytes before the end of each stream instead.  Raises at once VMNotFound,
        ExecutionNotFound, and AgentUnreachable for one that an earlier server left and this one does not
        follow yet; the last also where it is lost on the way.  Close the generator (`contextlib.aclosing`)
        when leaving early.
        """
        execution = await self._read(user_id, reference, execution_id)
        run = self._executions.find(execution.vm_id, execution_id)
        if run is None and execution.state is ExecutionState.RUNNING:
            execution = await self._read(user_id, execution.vm_id, execution_id)  # it may have ended just now
            if execution.state is ExecutionState.RUNNING:
                raise AgentUnreachable("this server does not follow it yet; try again in a moment")
        if tail is not None:
            end = _end_of(run, execution)
            at = Position(max(0, end.stdout - tail), max(0, end.stderr - tail))
        return self._pieces(run, execution, at)

    async def _pieces(
        self, run: Run | None, execution: Execution, at: Position
    ) -> AsyncGenerator[Piece | Execution, None]:
        reader = Reader(self._context.outputs, at)
        if run is not None:
            with run.watched() as watch:
                live = reader.live(execution, lambda: run.spool, watch)
                async with aclosing(live) as pieces:
                    async for piece in pieces:
                        yield piece
            execution = run.result()
        async with aclosing(reader.settled(execution)) as pieces:
            async for piece in pieces:
                yield piece
        yield execution


def _end_of(run: Run | None, execution: Execution) -> Position:
    """How much it has written."""
    if run is not None:
        return Position(run.stdout.total, run.stderr.total)
    outcome = execution.outcome
    return Position() if outcome is None else Position(outcome.output_bytes, outcome.error_bytes)
