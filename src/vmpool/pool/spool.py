"""Output on its way to the disk, as it is written; kept there where the history's text cannot say it all.

The agent keeps half a window of each stream until the host has consumed it, so a restarted server gets the
output of a small execution from there.  Of one that writes more, the pool appends what it consumes to a
file first: a server killed at any moment leaves the rest either there or with the agent.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio.to_thread

from vmpool.agent.messages import WINDOW_BYTES

logger = logging.getLogger(__name__)

Stream = Literal["stdout", "stderr"]

STREAMS: tuple[Stream, ...] = ("stdout", "stderr")

REPLAYED_BYTES = WINDOW_BYTES // 2
"""Below this many consumed bytes of a stream nothing was acknowledged yet, so the agent replays them all."""
POSITION_DIGITS = 20

MakeRoom = Callable[[int], Awaitable[bool]]
"""Whether so many bytes more may be put on disk."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier server kept of one stream: its beginning and its end, with `gap` bytes between.

    offset: how far that server had consumed the stream.
    """

    head: bytes = b""
    gap: int = 0
    tail: bytes = b""
    offset: int = 0

    @property
    def missing(self) -> int:
        """Bytes after the tail that were consumed and not kept."""
        return self.offset - len(self.head) - self.gap - len(self.tail)


class _File:
    """One stream's file.  `held` is not on disk yet, `spooled` bytes are, `consumed` counts them all.

    full: something could not be kept; what comes after it is not either, so that the file is a beginning.
    """

    __slots__ = ("_descriptor", "_directory", "_name", "_position", "consumed", "full", "held", "spooled")

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory  # most never need their path
        self._name = name
        self.held = bytearray()
        self.spooled = 0
        self.consumed = 0
        self.full = False
        self._descriptor: int | None = None
        self._position: int | None = None

    @property
    def path(self) -> Path:
        return self._directory / self._name

    @property
    def position(self) -> Path:
        """Beside it, of a stream that was not kept to its end: how far it was consumed."""
        return self._directory / f"{self._name}-at"

    def kept(self, limit: int) -> Kept:
        """What is on disk; of more than `limit` bytes the first and the last half."""
        try:
            with self.path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                head = file.read(limit if size <= limit else limit - limit // 2)
                file.seek(max(len(head), size - limit // 2))
                tail = file.read()
        except FileNotFoundError:
            size, head, tail = 0, b"", b""
        noted = int(self.position.read_text() or "0") if self.position.exists() else 0
        self.spooled = size
        self.consumed = max(noted, size)
        self.full = self.consumed > self.spooled
        return Kept(head, size - len(head) - len(tail), tail, self.consumed)

    def write(self, min_free: int) -> int:
        """Append what is held, unless the disk would be left with less than `min_free` bytes.

        Answers how much was; `wrote` takes note of it, where readers cannot come in between.
        """
        written = 0
        if self.held and not self.full:
            try:
                self._append(min_free)
                written = len(self.held)
            except OSError as error:  # the disk is full: the program is not to suffer from it
                logger.warning("%s is not kept any further: %s", self.path.name, error.strerror)
                self.full = True
        if self.full:
            self._note()
        return written

    def wrote(self, count: int) -> None:
        """So much of what was held is in the file, and the rest nowhere."""
        self.spooled += count
        self.held.clear()

    def _append(self, min_free: int) -> None:
        if self._descriptor is None:
            self._descriptor = _open(self.path, os.O_APPEND)
        disk = os.fstatvfs(self._descriptor)
        if disk.f_bavail * disk.f_frsize < min_free + len(self.held):
            raise OSError(errno.ENOSPC, f"less than {min_free} bytes would be left free")
        try:
            left = memoryview(bytes(self.held))
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            os.ftruncate(self._descriptor, self.spooled)
            raise

    def _note(self) -> None:
        try:
            if self._position is None:
                self._position = _open(self.position)
            os.pwrite(self._position, b"%0*d" % (POSITION_DIGITS, self.consumed), 0)
        except OSError as error:
            logger.warning("how far %s was read is not noted: %s", self.path.name, error.strerror)

    def close(self) -> None:
        for descriptor in (self._descriptor, self._position):
            if descriptor is not None:
                os.close(descriptor)
        self._descriptor = self._position = None

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.position.unlink(missing_ok=True)


def _name(execution_id: int, stream: Stream) -> str:
    return f"{execution_id}.{stream}"


def _open(path: Path, more: int = 0) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | more, 0o600)


class Spool:
    """The directory with a file for each stream that outgrew the agent's memory.

    min_free: bytes of its disk that are left to everything else.
    """

    def __init__(self, directory: Path, min_free: int = 0) -> None:
        self._directory = directory
        self._min_free = min_free

    async def prepare(self) -> None:
        """Make the directory, readable by the server only."""
        await anyio.to_thread.run_sync(lambda: self._directory.mkdir(mode=0o700, parents=True, exist_ok=True))

    def open(self, execution_id: int, make_room: MakeRoom) -> SpooledOutput:
        """The spool of one execution; nothing is on disk until there is need.

        make_room: asked before bytes are put there.
        """
        return SpooledOutput(self._files_of(execution_id), make_room, self._min_free)

    def path(self, execution_id: int, stream: Stream) -> Path:
        """Where a stream of an execution is, if it is there."""
        return self._directory / _name(execution_id, stream)

    def _files_of(self, execution_id: int) -> dict[Stream, _File]:
        return {stream: _File(self._directory, _name(execution_id, stream)) for stream in STREAMS}

    async def remove(self, execution_id: int) -> None:
        """Remove what there is of an execution that has ended."""
        files = self._files_of(execution_id)

        def remove() -> None:
            for file in files.values():
                file.remove()

        await anyio.to_thread.run_sync(remove)

    async def names(self) -> dict[str, int]:
        """Every file, with the id of the execution it is of; -1 for what is no output."""

        def read() -> dict[str, int]:
            found = {}
            for path in self._directory.iterdir():
                number = path.name.partition(".")[0]
                found[path.name] = int(number) if number.isdecimal() else -1
            return found

        return await anyio.to_thread.run_sync(read)

    async def drop(self, names: Collection[str]) -> None:
        """Remove these files."""

        def remove() -> None:
            for name in names:
                (self._directory / name).unlink(missing_ok=True)

        await anyio.to_thread.run_sync(remove)


class SpooledOutput:
    """The spool of one execution: `add` each piece, and `flush` if it says so, before the next.

    At its end `settle` says which streams stay, then `discard` removes the others; `close` in any case.
    """

    __slots__ = ("_files", "_make_room", "_min_free", "_on_disk")

    def __init__(self, files: Mapping[Stream, _File], make_room: MakeRoom, min_free: int) -> None:
        self._files = files
        self._make_room = make_room
        self._min_free = min_free
        self._on_disk = False

    async def recover(self, limit: int) -> dict[Stream, Kept]:
        """What an earlier server kept of each stream; this one goes on after it.

        limit: bytes of each that are read.
        """

        def read() -> dict[Stream, Kept]:
            return {name: file.kept(limit) for name, file in self._files.items()}

        kept = await anyio.to_thread.run_sync(read)
        self._on_disk = any(part.offset for part in kept.values())
        return kept

    def add(self, name: Stream, data: bytes) -> bool:
        """Hold a piece; true when `flush` must run before the next one is asked for."""
        file = self._files[name]
        if not file.full:
            file.held += data
        file.consumed += len(data)
        return file.spooled > 0 or file.consumed >= REPLAYED_BYTES

    async def flush(self) -> None:
        """Put on disk what is held, or, where there is no room, how far the stream was consumed."""
        self._on_disk = True
        for file in self._files.values():
            if file.held and not file.full and not await self._make_room(len(file.held)):
                file.full = True
        written = await anyio.to_thread.run_sync(self._write)
        for file, count in zip(self._files.values(), written, strict=True):
            file.wrote(count)

    def _write(self) -> list[int]:
        return [file.write(self._min_free) for file in self._files.values()]

    def lacks(self, name: Stream, offset: int) -> bool:
        """Whether what a stream had from `offset` on is neither held nor on disk."""
        file = self._files[name]
        return offset >= file.spooled + len(file.held)

    @property
    def on_disk(self) -> int:
        """Bytes of both streams that room was taken for and that are in the files."""
        return sum(file.spooled for file in self._files.values())

    def so_far(self, name: Stream) -> tuple[Path, int, bytes]:
        """Of a stream that is still written: its file, how much of it counts, and what comes after that."""
        file = self._files[name]
        return file.path, file.spooled, bytes(file.held)

    async def settle(self, keep: Collection[Stream]) -> dict[Stream, int]:
        """The streams in `keep` are on disk now as far as there is room: how many bytes of each."""
        if any(self._files[name].held for name in keep):
            await self.flush()
        return {name: self._files[name].spooled for name in keep}

    async def discard(self, keep: Collection[Stream] = ()) -> int:
        """The history has the end: remove every file but those of `keep`; how many bytes are gone."""
        self.close()
        if not self._on_disk:
            return 0
        doomed = [file for name, file in self._files.items() if name not in keep]

        def remove() -> None:
            for file in doomed:
                file.remove()
            for name in keep:
                self._files[name].position.unlink(missing_ok=True)

        await anyio.to_thread.run_sync(remove)
        return sum(file.spooled for file in doomed)

    def close(self) -> None:
        """Let go of the files; they stay."""
        for file in self._files.values():
            file.close()
