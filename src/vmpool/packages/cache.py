"""Files on disk under names of 64 hex digits: bounded in bytes, those used longest ago go first."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from pathlib import Path

import anyio
import anyio.to_thread

_NAME = re.compile(r"[0-9a-f]{64}")
PART = ".part"


class Cache:
    """max_bytes: of all files together.  Only one may be open on a directory; `open` comes first.

    A file that is read while it goes stays readable until it is closed.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self.bytes = 0
        self._parts = 0

    async def open(self) -> None:
        """Learn what is there; what an earlier server had not finished goes."""
        self._sizes = await anyio.to_thread.run_sync(self._scan)
        self.bytes = sum(self._sizes.values())
        await self._make_room()

    def _scan(self) -> OrderedDict[str, int]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found: list[tuple[int, str, int]] = []
        for path in self._directory.iterdir():
            if path.name.endswith(PART):
                path.unlink()
            elif _NAME.fullmatch(path.name):
                status = path.stat()
                found.append((status.st_mtime_ns, path.name, status.st_size))
        return OrderedDict((name, size) for _, name, size in sorted(found))

    async def find(self, name: str) -> Path | None:
        """The file of this name, which counts as used now."""
        if name not in self._sizes:
            return None
        self._sizes.move_to_end(name)
        path = self._directory / name
        if not await anyio.to_thread.run_sync(_touch, path):
            self._forget(name)
            return None
        return path

    def part(self) -> Path:
        """A new file to write to, for `keep`."""
        self._parts += 1
        return self._directory / f"{self._parts}{PART}"

    async def keep(self, name: str, part: Path) -> Path:
        """From now on what `part` holds has this name; what was longest unused makes room."""
        path = self._directory / name
        size = await anyio.to_thread.run_sync(_moved, part, path)
        self._forget(name)
        self._sizes[name] = size
        self.bytes += size
        await self._make_room()
        return path

    async def drop(self, name: str) -> None:
        """Remove a file: it is damaged."""
        self._forget(name)
        await anyio.to_thread.run_sync(_unlink, self._directory / name)

    def _forget(self, name: str) -> None:
        self.bytes -= self._sizes.pop(name, 0)

    async def _make_room(self) -> None:
        while self.bytes > self._max_bytes and len(self._sizes) > 1:
            await self.drop(next(iter(self._sizes)))


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _moved(part: Path, path: Path) -> int:
    size = part.stat().st_size
    part.replace(path)
    return size


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
