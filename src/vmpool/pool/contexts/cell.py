"""One cell: what it has put out so far, for who waits for its end and for who reads along."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator
from time import perf_counter

import anyio

from vmpool.domain.code_context import CellOutput, CellResult, CellState, Raised, Shown, Text

MOST_BYTES = 8 << 20
"""Of one cell's outputs together; what comes after is counted as truncated."""
MOST_BYTES_OF_VM = 32 << 20
"""Of all cells of one VM that somebody still reads."""
MOST_OUTPUTS = 20_000
OUTPUT_COST = 128
"""Bytes an output takes beside its content, roughly."""
JOINED = 64 << 10
"""Characters up to which neighbouring pieces of text are one output of the result."""


class Budget:
    """What the cells of one VM may keep together, as long as somebody holds them: bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> bool:
        """Whether there is room for so much more, which is then taken."""
        if size > self._left:
            return False
        self._left -= size
        return True

    def give(self, size: int) -> None:
        """So much is not kept any more."""
        self._left += size


class _Kept:
    """How much of a budget one cell has."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.size = 0

    def take(self, size: int) -> bool:
        if self.size + size > MOST_BYTES or not self._budget.take(size):
            return False
        self.size += size
        return True

    def give_back(self) -> None:
        self._budget.give(self.size)
        self.size = 0


class Cell:
    """state: None until it has ended.  number: 0 until it runs.  timeout: seconds, from then on.
    interrupted: somebody asked for its end.  ended_on: streams on which its end has come.  budget: default:
    its own."""

    def __init__(self, code: str, timeout: float, budget: Budget | None = None) -> None:
        self.code = code
        self.timeout = timeout
        self.number = 0
        self.state: CellState | None = None
        self.interrupted = False
        self.timed_out = False
        self.failed = False
        self.ended_on: set[str] = set()
        self.done = anyio.Event()
        self.truncated = False
        self._outputs: list[CellOutput] = []
        self._kept = _Kept(budget or Budget(MOST_BYTES))
        weakref.finalize(self, self._kept.give_back)  # when the last who reads it has gone
        self._began = self._ended = 0.0
        self._news = anyio.Event()

    def begin(self, number: int) -> None:
        """It runs."""
        self.number = number
        self._began = perf_counter()

    def add(self, output: CellOutput) -> None:
        """Keep what it has put out, as long as there is room."""
        cost = OUTPUT_COST + _size(output)
        if len(self._outputs) >= MOST_OUTPUTS or not self._kept.take(cost):
            self.truncated = True
            return
        self._outputs.append(output)
        self._tell()

    def end(self, state: CellState) -> None:
        """It has ended so; a second time does nothing."""
        if self.state is None:
            self.state = state
            self._ended = perf_counter()
            self.done.set()
            self._tell()

    def judged(self) -> CellState:
        """The state of one that has ended by itself."""
        if not self.failed:
            return CellState.OK
        if self.timed_out:
            return CellState.TIMED_OUT
        return CellState.INTERRUPTED if self.interrupted else CellState.ERROR

    @property
    def result(self) -> CellResult:
        """How it ended; only once it has."""
        assert self.state is not None
        return CellResult(
            number=self.number,
            state=self.state,
            outputs=tuple(_joined(self._outputs)),
            truncated=self.truncated,
            seconds=max(0.0, self._ended - self._began) if self._began else 0.0,
        )

    async def follow(self) -> AsyncGenerator[CellOutput, None]:
        """Its outputs as they come, until it has ended.  A slow reader holds up nobody."""
        at = 0
        while True:
            news = self._news
            while at < len(self._outputs):
                at += 1
                yield self._outputs[at - 1]
            if self.state is not None:
                return
            await news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()


def _size(output: CellOutput) -> int:
    match output:
        case Text():
            return _extent(output.text)
        case Shown():
            return sum(_extent(form) + len(mime) for mime, form in output.forms.items())
        case Raised():
            return _extent(output.name) + _extent(output.value) + _extent(output.trace)


def _extent(form: object) -> int:
    """What a form takes, roughly; deep ones are bounded by who parsed them."""
    if isinstance(form, str):
        return len(form) if form.isascii() else 4 * len(form)  # as it lies in memory, at most
    if isinstance(form, dict):
        return sum(len(name) + _extent(value) for name, value in form.items()) + 64
    if isinstance(form, list):
        return sum(map(_extent, form)) + 64
    return 32


def _joined(outputs: list[CellOutput]) -> list[CellOutput]:
    """The same with neighbouring text of one stream in one piece."""
    found: list[CellOutput] = []
    parts: list[str] = []
    stream, size = "", 0
    for output in outputs:
        if parts and not (isinstance(output, Text) and output.stream == stream and size < JOINED):
            found.append(Text(stream, "".join(parts)))
            parts, size = [], 0
        if isinstance(output, Text):
            stream = output.stream
            parts.append(output.text)
            size += len(output.text)
        else:
            found.append(output)
    if parts:
        found.append(Text(stream, "".join(parts)))
    return found
