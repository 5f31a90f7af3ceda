"""The output of one execution for those who watch it: the last of it in memory, the rest from where it lies.

Every reader has a position in each stream and asks for what comes next.  It never holds anybody up, and
nothing is held for it: who is slow reads from the disk what others had from memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass

import anyio

from vmpool.agent.base import Output
from vmpool.domain import Execution
from vmpool.errors import OutputNotKept
from vmpool.pool.outputs import Outputs, StoredOutput
from vmpool.pool.spool import STREAMS, SpooledOutput, Stream

HELD_BYTES = 256 << 10
"""Of an execution that is watched: what its last pieces may take together."""
PIECE_COST = 256
"""What a piece takes beside its bytes, roughly: many small ones must not be free."""
LARGEST_PIECE = 64 << 10
"""Bytes a reader is given at once."""


@dataclass(slots=True)
class Position:
    """How far somebody has read each stream: bytes."""

    stdout: int = 0
    stderr: int = 0

    def of(self, stream: Stream) -> int:
        """In this stream."""
        return self.stdout if stream == "stdout" else self.stderr

    def reach(self, stream: Stream, offset: int) -> None:
        """This far in this stream."""
        if stream == "stdout":
            self.stdout = offset
        else:
            self.stderr = offset


@dataclass(frozen=True, slots=True)
class Piece:
    """What comes next in one stream.  offset: of its first byte.  skipped: bytes before it that are nowhere.

    stdout, stderr: the position after it.
    """

    stream: Stream
    offset: int
    data: bytes
    skipped: int
    stdout: int
    stderr: int


class Watch:
    """The last pieces of one execution, in order of arrival, shared by all its readers.

    begins: from where on the pieces hold each stream.  over: nothing more comes.
    """

    def __init__(self, ends: Position) -> None:
        self.begins = ends
        self.readers = 0
        self.over = False
        self._pieces: deque[Output] = deque()
        self._first = 0
        self._cost = 0
        self._news = anyio.Event()

    def add(self, output: Output) -> None:
        """A piece came; the oldest go where it is too much."""
        self._pieces.append(output)
        self._cost += len(output.data) + PIECE_COST
        while self._cost > HELD_BYTES and len(self._pieces) > 1:
            oldest = self._pieces.popleft()
            self._first += 1
            self._cost -= len(oldest.data) + PIECE_COST
            self.begins.reach(oldest.stream, oldest.offset + len(oldest.data))
        self._tell()

    def close(self) -> None:
        """It has ended."""
        self.over = True
        self._tell()

    async def news(self) -> None:
        """Until there is something more to read, or nothing will come."""
        await self._news.wait()

    def older(self, at: Position) -> Stream | None:
        """A stream of which a reader there has not had what the pieces no longer hold."""
        return next((stream for stream in STREAMS if at.of(stream) < self.begins.of(stream)), None)

    def after(self, number: int, at: Position) -> tuple[int, Stream, bytes] | None:
        """From piece `number` on, what a reader there has not had, joined while it is of one stream.

        Answers the number to go on with too.  None where there is nothing.
        """
        number = max(number, self._first)
        stream: Stream | None = None
        found: list[bytes] = []
        size = 0
        while number - self._first < len(self._pieces) and size < LARGEST_PIECE:
            output = self._pieces[number - self._first]
            if stream not in (None, output.stream):
                break
            new = output.data[max(0, at.of(output.stream) + size - output.offset) :]
            number += 1
            if new:
                stream = output.stream
                found.append(new)
                size += len(new)
        return None if stream is None else (number, stream, b"".join(found))

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()


@contextmanager
def watching(watch: Watch, left: Callable[[], None]) -> Iterator[Watch]:
    """Count a reader; `left` is called when the last has gone."""
    watch.readers += 1
    try:
        yield watch
    finally:
        watch.readers -= 1
        if not watch.readers:
            left()


class Reader:
    """One reader of one execution, from `at` on."""

    def __init__(self, outputs: Outputs, at: Position) -> None:
        self._outputs = outputs
        self._at = at

    async def live(
        self, execution: Execution, spool: Callable[[], SpooledOutput | None], watch: Watch
    ) -> AsyncGenerator[Piece, None]:
        """What it writes until it has ended; what was not read by then is in `settled`.

        spool: where its output goes, once there is some.
        """
        number = 0
        while True:
            stream = watch.older(self._at)
            if stream is not None:
                until, began = watch.begins.of(stream), self._at.of(stream)
                place = spool()
                stored = await self._opened(execution, stream, place)
                with closing(stored) if stored is not None else nullcontext():
                    while stored is not None and self._at.of(stream) < min(until, stored.size):
                        yield await self._read(stored, stream, until)
                if self._at.of(stream) < until and place is not None and place.lacks(stream, began):
                    yield self._missing(stream, until)
                elif self._at.of(stream) == began:  # it has ended just now
                    if watch.over:
                        return
                    await watch.news()
                continue
            found = watch.after(number, self._at)
            if found is not None:
                number, stream, data = found
                yield self._piece(stream, data)
            elif watch.over:
                return
            else:
                await watch.news()

    async def settled(self, execution: Execution) -> AsyncGenerator[Piece, None]:
        """What it has written and this reader has not had."""
        outcome = execution.outcome
        if outcome is None:
            return
        for stream in STREAMS:
            size = outcome.output_bytes if stream == "stdout" else outcome.error_bytes
            if self._at.of(stream) >= size:
                continue
            stored = await self._opened(execution, stream, None)
            with closing(stored) if stored is not None else nullcontext():
                while stored is not None and self._at.of(stream) < stored.size:
                    yield await self._read(stored, stream, stored.size)
            if self._at.of(stream) < size:
                yield self._missing(stream, size)

    async def _opened(
        self, execution: Execution, stream: Stream, spool: SpooledOutput | None
    ) -> StoredOutput | None:
        """What the disk or the row has of it; None for nothing."""
        try:
            return await self._outputs.open(execution, stream, spool)
        except OutputNotKept:
            return None

    async def _read(self, stored: StoredOutput, stream: Stream, until: int) -> Piece:
        at = self._at.of(stream)
        count = min(LARGEST_PIECE, min(stored.size, until) - at)
        return self._piece(stream, await stored.some(at, count))

    def _piece(self, stream: Stream, data: bytes, skipped: int = 0) -> Piece:
        offset = self._at.of(stream)
        self._at.reach(stream, offset + len(data))
        return Piece(stream, offset, data, skipped, self._at.stdout, self._at.stderr)

    def _missing(self, stream: Stream, until: int) -> Piece:
        """In the place of what is nowhere."""
        skipped = until - self._at.of(stream)
        self._at.reach(stream, until)
        return self._piece(stream, b"", skipped)
