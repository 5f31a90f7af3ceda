"""Output the agent has been told to forget, kept on disk until the history has it.

The agent keeps half a window of each stream until the host has consumed it, so a restarted server gets the
output of a small execution from there.  Of one that writes more, the pool appends what it consumes to a
file first: a server killed at any moment leaves the rest either there or with the agent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio.to_thread

from vmpool.agent.messages import WINDOW_BYTES

Stream = Literal["stdout", "stderr"]

REPLAYED_BYTES = WINDOW_BYTES // 2
"""Below this many consumed bytes of a stream nothing was acknowledged yet, so the agent replays them all."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What an earlier server kept of one stream.  offset: how far that server had consumed it."""

    data: bytes = b""
    offset: int = 0


class Spool:
    """One directory with a file for each stream that outgrew the agent's memory.

    limit: bytes kept of each stream; of what comes after, only its position is noted.
    """

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit

    async def prepare(self) -> None:
        """Make the directory, readable by the server only."""
        await anyio.to_thread.run_sync(lambda: self._directory.mkdir(mode=0o700, parents=True, exist_ok=True))

    def open(self, execution_id: int) -> SpooledOutput:
        """The spool of one execution; nothing is on disk until there is need."""
        return SpooledOutput(self._directory, execution_id, self._limit)

    async def sweep(self, keep: Collection[int]) -> None:
        """Remove the files of every execution that is not in `keep`."""

        def remove() -> None:
            for path in self._directory.iterdir():
                name = path.name.partition(".")[0]
                if not (name.isdecimal() and int(name) in keep):
                    path.unlink(missing_ok=True)

        await anyio.to_thread.run_sync(remove)


class _Stream:
    """One stream's part: `held` is not on disk yet, `spooled` bytes are, `consumed` counts them all."""

    __slots__ = ("_directory", "_name", "consumed", "held", "spooled")

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self.held = bytearray()
        self.spooled = 0
        self.consumed = 0

    @property
    def path(self) -> Path:
        return self._directory / self._name

    @property
    def position(self) -> Path:
        return self.path.with_suffix(self.path.suffix + "-at")

    def kept(self) -> Kept:
        data = self.path.read_bytes() if self.path.exists() else b""
        noted = int(self.position.read_text()) if self.position.exists() else 0
        return Kept(data, max(noted, len(data)))

    def write(self, limit: int) -> None:
        if self.held:
            with self.path.open("ab") as file:
                file.write(self.held)
            self.spooled += len(self.held)
            self.held.clear()
        if self.spooled >= limit and self.consumed > self.spooled:
            scratch = self.path.with_suffix(".new")
            scratch.write_text(str(self.consumed))
            scratch.replace(self.position)


class SpooledOutput:
    """The spool of one running execution: `add` each piece, and `flush` if it says so, before the next."""

    __slots__ = ("_limit", "_on_disk", "_streams")

    def __init__(self, directory: Path, execution_id: int, limit: int) -> None:
        self._limit = limit
        self._streams: dict[Stream, _Stream] = {
            "stdout": _Stream(directory, f"{execution_id}.stdout"),
            "stderr": _Stream(directory, f"{execution_id}.stderr"),
        }
        self._on_disk = False

    async def recover(self) -> dict[Stream, Kept]:
        """What an earlier server kept of each stream; this one goes on after it."""

        def read() -> dict[Stream, Kept]:
            return {name: stream.kept() for name, stream in self._streams.items()}

        kept = await anyio.to_thread.run_sync(read)
        for name, stream in self._streams.items():
            stream.spooled = len(kept[name].data)
            stream.consumed = kept[name].offset
            self._on_disk = self._on_disk or stream.consumed > 0
        return kept

    def add(self, name: Stream, data: bytes) -> bool:
        """Hold a piece; true when `flush` must run before the next one is asked for."""
        stream = self._streams[name]
        if stream.spooled + len(stream.held) < self._limit:
            stream.held += data
        stream.consumed += len(data)
        return stream.spooled > 0 or stream.consumed >= REPLAYED_BYTES

    async def flush(self) -> None:
        """Put on disk what is held, or, past the limit, how far the stream was consumed."""
        self._on_disk = True
        await anyio.to_thread.run_sync(self._write)

    def _write(self) -> None:
        for stream in self._streams.values():
            stream.write(self._limit)

    async def discard(self) -> None:
        """The history has it: remove the files, if there are any."""
        if self._on_disk:
            await anyio.to_thread.run_sync(self._remove)

    def _remove(self) -> None:
        for stream in self._streams.values():
            stream.path.unlink(missing_ok=True)
            stream.position.unlink(missing_ok=True)
