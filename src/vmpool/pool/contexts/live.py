"""One kernel that runs: cells go to it one after the other, and what it says becomes their outputs."""

from __future__ import annotations

import secrets
import signal
from collections import deque
from collections.abc import Callable

import anyio

from vmpool.agent.base import Exit, Process
from vmpool.domain.code_context import CellOutput, CellState, CodeContext, ContextState, Raised, Shown, Text
from vmpool.domain.secret import Mask
from vmpool.errors import ContextDead, InfrastructureFailure, TooManyCells
from vmpool.pool.contexts.cell import Cell
from vmpool.pool.contexts.hiding import Hiding
from vmpool.pool.contexts.kernels import KERNELS, mark_of
from vmpool.pool.contexts.wire import BrokenKernel, Ended, Message, Ready, Synced

MOST_WAITING = 64
"""Cells in line behind the one that runs."""
INTERRUPT_GRACE = 5.0
"""Seconds a cell past its time has to end after an interrupt, before its kernel is ended."""
KEPT_WORDS = 2000
"""Characters of what was written last that say why a kernel has ended."""


class LiveContext:
    """failure: why it is dead, once it is.  cells: how many it has begun.  ready: set once it takes cells, or
    never will.  used: told when a cell begins and when it ends.  mask: what hides the secrets of its VM."""

    def __init__(
        self,
        context: CodeContext,
        process: Process,
        used: Callable[[], None],
        mask: Callable[[], Mask | None],
    ) -> None:
        self.context = context
        self.failure: str | None = None
        self.cells = 0
        self.ready = anyio.Event()
        self.deleted = False
        self._kernel = KERNELS[context.language]
        self._readers = self._kernel.readers(mark_of(context))
        self._process = process
        self._used = used
        self._current: Cell | None = None
        self._waiting: deque[Cell] = deque()
        self._asked: str | None = None
        self._words = ""
        self._mask = mask
        self._hiding: Hiding | None = None
        self._hide()
        self._changed = anyio.Event()

    @property
    def state(self) -> ContextState:
        if self.failure is not None:
            return ContextState.DEAD
        return (
            ContextState.BUSY if self._current is not None or self._asked is not None else ContextState.IDLE
        )

    @property
    def waiting(self) -> int:
        """Cells in line."""
        return len(self._waiting)

    # -- verbs

    async def write(self, data: bytes) -> None:
        """Say it to the kernel."""
        try:
            await self._process.write_stdin(data)
        except InfrastructureFailure:
            pass  # it has ended, or is lost; who reads its output hears how

    async def ask(self) -> None:
        """Find out where a kernel stands that an earlier server left; until it answers it is busy."""
        self._asked = secrets.token_hex(8)
        await self.write(self._kernel.question(self._asked))

    def line_up(self, cell: Cell) -> None:
        """Let a cell run after those before it; ContextDead, TooManyCells."""
        if self.failure is not None:
            raise ContextDead(self.context.id, self.failure)
        if len(self._waiting) >= MOST_WAITING:
            raise TooManyCells(self.context.id, MOST_WAITING)
        self._waiting.append(cell)

    async def carry(self, cell: Cell) -> None:
        """See a cell that is lined up to its end; whoever waits for it may leave."""
        with anyio.move_on_after(cell.timeout):
            await self._turn(cell)
        if cell.number == 0:  # its time was over before its turn came
            self._leave_line(cell)
            cell.end(CellState.TIMED_OUT)
            return
        with anyio.move_on_after(cell.timeout):
            await cell.done.wait()
        if cell.state is None:
            cell.timed_out = True
            await self._process.signal(signal.SIGINT, tree=True)
            with anyio.move_on_after(INTERRUPT_GRACE):
                await cell.done.wait()
        if cell.state is None:
            await self.end(
                "a cell went on past its time and did not answer to an interrupt", CellState.TIMED_OUT
            )
        self._used()

    async def interrupt(self) -> None:
        """What Ctrl-C does, to the cell that runs and what it has started; those in line stay."""
        if self.failure is None and self._current is not None:
            self._current.interrupted = True
            await self._process.signal(signal.SIGINT, tree=True)

    async def end(self, reason: str, state: CellState = CellState.DIED) -> None:
        """End the kernel and everything it started."""
        self._over(reason, state)
        await self._process.signal(signal.SIGKILL, tree=True)
        await self._process.release()

    async def release(self) -> None:
        """Let the agent forget one that has ended."""
        await self._process.release()

    # -- the kernel's side

    async def read(self) -> Exit | None:
        """Take what it says until it ends; None where it was ended for what it said.

        Raises AgentUnreachable where nobody knows what has become of it.
        """
        try:
            async for event in self._process.events():
                if isinstance(event, Exit):
                    return event
                for message in self._readers[event.stream].feed(event.data):
                    self._take(message)
        except BrokenKernel as broken:
            await self.end(f"its kernel sent {broken}")
        return None

    def ended(self, exit: Exit) -> None:
        """It has ended by itself, or somebody in the VM ended it."""
        self._let_out()
        how = f"its kernel ended with exit code {exit.exit_code}"
        if exit.signal == signal.SIGKILL:
            how += " (killed: out of memory, or by somebody in the VM)"
        words = self._words.strip()
        self._over(f"{how}: {words}" if words else how, CellState.DIED)

    def lost(self, reason: str) -> None:
        """Nobody follows it any more."""
        self._over(reason, CellState.DIED)

    def _take(self, message: Message) -> None:
        cell = self._current
        match message:
            case Ready():
                self._is_ready()
            case Synced():
                if message.asked == self._asked:
                    self._asked = None
                    self.cells = message.number
                    self._is_ready()
                    self._next()
            case Ended():
                if message.number == 0:
                    self._is_ready()
                elif cell is not None and message.number == cell.number:
                    self._cell_ended(cell, message)
            case Text() | Shown() | Raised():
                if cell is not None:
                    cell.failed |= isinstance(message, Raised)
                for output in [message] if self._hiding is None else self._hiding.shown(message):
                    self._put_out(cell, output)

    def _put_out(self, cell: Cell | None, output: CellOutput) -> None:
        if isinstance(output, Text):
            self._words = (self._words + output.text)[-KEPT_WORDS:]
        if cell is not None:
            cell.add(output)

    def _hide(self) -> None:
        """From now on the secrets that its VM has now."""
        self._let_out()
        mask = self._mask()
        self._hiding = None if mask is None else Hiding(mask)

    def _let_out(self) -> None:
        """What was held back."""
        for output in self._hiding.rest() if self._hiding is not None else ():
            self._put_out(self._current, output)

    def _cell_ended(self, cell: Cell, message: Ended) -> None:
        if message.status and not self._kernel.frames and not cell.failed:
            cell.add(Raised("ExitStatus", str(message.status), ""))
        cell.failed |= message.status != 0
        cell.ended_on.add(message.stream)
        if cell.ended_on >= self._kernel.ends_on:
            self._let_out()
            self._current = None
            self._words = ""
            cell.end(cell.judged())
            self._next()

    def _is_ready(self) -> None:
        self._words = ""
        self.ready.set()

    def _over(self, reason: str, state: CellState) -> None:
        if self.failure is not None:
            return
        self._let_out()
        self.failure = reason
        self.ready.set()
        current, self._current = self._current, None
        if current is not None:
            current.end(state)
        while self._waiting:
            self._waiting.popleft().end(CellState.DIED)
        self._next()

    # -- the line

    async def _turn(self, cell: Cell) -> None:
        """Until it is this cell's turn and it is said to the kernel, or all is over."""
        while cell.state is None:
            if self._current is None and self._asked is None and self._waiting and self._waiting[0] is cell:
                self._waiting.popleft()
                self._hide()
                self._current = cell
                self.cells += 1
                cell.begin(self.cells)
                self._used()
                await self.write(self._kernel.cell(cell.number, cell.code))
                return
            await self._changed.wait()

    def _leave_line(self, cell: Cell) -> None:
        if cell in self._waiting:
            self._waiting.remove(cell)
            self._next()

    def _next(self) -> None:
        """Whose turn it is may be another's now."""
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
