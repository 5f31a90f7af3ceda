"""One cell: what it has put out so far, for who waits for its end and for who reads along."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from time import perf_counter

import anyio

from vmpool.domain.code_context import CellOutput, CellResult, CellState, Raised, Shown, Text

MOST_BYTES = 8 << 20
"""Of one cell's outputs together; what comes after is counted as truncated."""
MOST_OUTPUTS = 20_000
OUTPUT_COST = 128
"""Bytes an output takes beside its content, roughly."""
JOINED = 64 << 10
"""Characters up to which neighbouring pieces of text are one output of the result."""


class Cell:
    """state: None until it has ended.  number: 0 until it runs.  timeout: seconds, from then on.
    interrupted: somebody asked for its end.  ended_on: streams on which its end has come."""

    def __init__(self, code: str, timeout: float) -> None:
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
        self._cost = 0
        self._began = self._ended = 0.0
        self._news = anyio.Event()

    def begin(self, number: int) -> None:
        """It runs."""
        self.number = number
        self._began = perf_counter()

    def add(self, output: CellOutput) -> None:
        """Keep what it has put out, as long as there is room."""
        cost = OUTPUT_COST + _size(output)
        if self._cost + cost > MOST_BYTES or len(self._outputs) >= MOST_OUTPUTS:
            self.truncated = True
            return
        self._cost += cost
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
            return len(output.text)
        case Shown():
            return sum(_extent(form) + len(mime) for mime, form in output.forms.items())
        case Raised():
            return len(output.name) + len(output.value) + len(output.trace)


def _extent(form: object) -> int:
    """What a form takes, roughly; deep ones are bounded by who parsed them."""
    if isinstance(form, str):
        return len(form)
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
