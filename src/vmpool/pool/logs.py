"""A VM's output: what the history has, what is being written now, and what comes after."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from vmpool.domain import VM, Execution
from vmpool.pool.context import Context
from vmpool.pool.executions import Executions
from vmpool.pool.feed import LogEntry, Stream
from vmpool.pool.run import Run

DEFAULT_TAIL = 100


class Logs:
    """Reads and follows output.  An entry is a piece of one stream of one execution."""

    def __init__(self, context: Context, executions: Executions) -> None:
        self._context = context
        self._executions = executions

    async def tail(self, vm: VM, count: int) -> list[LogEntry]:
        """Output of the VM's last `count` executions, oldest first, those that still run included."""
        return await self._so_far(vm, count, self._executions.live(vm.id))

    async def follow(self, vm: VM, count: int) -> AsyncGenerator[LogEntry, None]:
        """The same, then everything as it is written, until the VM is deleted.

        Nothing is missing or doubled in between.  A reader slower than the programs is told by `skipped`
        how much passed it by.
        """
        context = self._context
        with context.feed.following(vm.id) as follower:
            # One moment: what is in the captures now is answered from them, all after it by the follower.
            live = [(run, _pieces(run)) for run in self._executions.live(vm.id)]
            running = {run.execution.id for run, _ in live if run.execution is not None}
            history = await context.store.executions.tail(vm.id, count) if count else []
            doubled = running | follower.stop_noting()
            for execution in history:
                if execution.id not in doubled:
                    for entry in _entries(execution):
                        yield entry
            for _, pieces in live if count else ():
                for entry in pieces:
                    yield entry
            if context.registry.get(vm.id) is None:
                follower.close()
            while (piece := await follower.next()) is not None:
                yield piece

    async def _so_far(self, vm: VM, count: int, live: list[Run]) -> list[LogEntry]:
        if not count:
            return []
        pieces = {run.execution.id: _pieces(run) for run in live if run.execution is not None}
        entries: list[LogEntry] = []
        for execution in await self._context.store.executions.tail(vm.id, count):
            entries += pieces.get(execution.id, []) if execution.outcome is None else _entries(execution)
        return entries


def _entries(execution: Execution) -> list[LogEntry]:
    """What the history has of one execution."""
    if execution.outcome is None:
        return []
    parts: tuple[tuple[Stream, str], ...] = (
        ("stdout", execution.outcome.output),
        ("stderr", execution.outcome.error),
    )
    return [LogEntry(execution.id, name, text, execution.executed_at) for name, text in parts if text]


def _pieces(run: Run) -> list[LogEntry]:
    """What one that still runs has written so far."""
    execution = run.execution
    if execution is None:
        return []
    parts: tuple[tuple[Stream, str], ...] = (("stdout", run.stdout.text()), ("stderr", run.stderr.text()))
    return [LogEntry(execution.id, name, text, execution.executed_at) for name, text in parts if text]
