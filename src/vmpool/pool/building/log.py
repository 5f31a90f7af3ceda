"""What a build writes: a file of bounded length, and whoever reads it as it grows."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import anyio.to_thread

LONGEST = 4 << 20
"""Bytes that are kept of one build's log."""
PIECE = 64 << 10
"""Bytes a reader gets at once."""
CUT = b"\n... more was written and is not kept\n"


class BuildLog:
    """One build's log: `write` appends, `follow` reads from any place to the end and on.

    ended: nothing more is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._news = anyio.Event()
        self.size = 0
        self.ended = False

    async def write(self, data: bytes) -> None:
        """Append, as far as there is room."""
        if not data or self.size >= LONGEST:
            return
        if self.size + len(data) > LONGEST:
            data = data[: LONGEST - self.size] + CUT
        await anyio.to_thread.run_sync(self._append, data)
        self.size += len(data)
        self._tell()

    async def changed(self) -> None:
        """Until more is written, or it ends."""
        await self._news.wait()

    def end(self) -> None:
        """Readers end once they have read it all."""
        self.ended = True
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, anyio.Event()
        news.set()

    def _append(self, data: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)

    async def follow(self, at: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """Each piece with the place it begins at, whole characters where it is text."""
        while True:
            news = self._news  # before the look, so that none is missed
            if at < self.size:
                piece = whole(await read(self._path, at, min(PIECE, self.size - at)))
                if not piece:
                    return
                yield at, piece
                at += len(piece)
            elif self.ended:
                return
            else:
                await news.wait()


async def read(path: Path, at: int, count: int) -> bytes:
    """So many bytes from a place of a log; none where it is not there."""

    def work() -> bytes:
        try:
            with path.open("rb") as file:
                file.seek(at)
                return file.read(count)
        except FileNotFoundError:
            return b""

    return await anyio.to_thread.run_sync(work)


def whole(piece: bytes) -> bytes:
    """The piece without a character that is cut off at its end.  Pure."""
    for back in range(1, min(4, len(piece)) + 1):
        byte = piece[-back]
        if byte & 0xC0 != 0x80:  # the beginning of a character
            length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return piece[:-back] if length > back and len(piece) > back else piece
    return piece
