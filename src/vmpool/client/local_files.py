"""This side's files: directories packed as archives, and what a sync has to do.  Everything here blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from vmpool import tar
from vmpool.tar import Entry, Kind

PIECE_BYTES = 1 << 20
"""Of a file that is read or written at once."""
GATHERED = 256 << 10
"""Of an archive that is sent at once."""
_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Known:
    """What a sync compares.  kind: "file", "directory" or "link"."""

    kind: str
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""

    def same(self, other: Known | None) -> bool:
        """Whether nothing has to be sent for it."""
        if other is None or self.kind != other.kind:
            return False
        if self.kind == "file":
            return (self.size, self.mtime_ns) == (other.size, other.mtime_ns)
        return self.kind == "directory" or self.target == other.target


def walk(directory: Path) -> Iterator[tuple[bytes, os.stat_result]]:
    """Everything below a directory with its name relative to it, each directory before what it holds."""
    top = os.fsencode(directory)
    waiting = [b""]
    while waiting:
        below = waiting.pop()
        with os.scandir(_joined(top, below)) as found:
            for entry in sorted(found, key=lambda one: one.name):
                name = _joined(below, entry.name)
                status = entry.stat(follow_symlinks=False)
                yield name, status
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(name)


def _joined(directory: bytes, name: bytes) -> bytes:
    return directory.rstrip(b"/") + b"/" + name if directory and name else directory or name


def _target(link: bytes) -> bytes:
    return os.readlink(link)  # noqa: PTH115 (a Path is text)


def known(directory: Path) -> dict[bytes, Known]:
    """What there is to be synced: directories, files and links."""
    found: dict[bytes, Known] = {}
    for name, status in walk(directory):
        if stat.S_ISDIR(status.st_mode):
            found[name] = Known("directory")
        elif stat.S_ISREG(status.st_mode):
            found[name] = Known("file", status.st_size, status.st_mtime_ns)
        elif stat.S_ISLNK(status.st_mode):
            found[name] = Known("link", target=_target(_joined(os.fsencode(directory), name)))
    return found


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes a directory of a VM like one here.  size: bytes of the files to send."""

    send: frozenset[bytes]
    remove: tuple[bytes, ...]
    size: int


def plan(here: Mapping[bytes, Known], there: Mapping[bytes, Known], *, delete: bool) -> Plan:
    """Pure.  delete: what is only there goes.  What is of another kind there goes in any case."""
    send = frozenset(name for name, one in here.items() if not one.same(there.get(name)))
    wrong = {name for name in send if name in there and there[name].kind != here[name].kind}
    extra = {name for name in there if name not in here} if delete else set()
    remove = tuple(name for name in sorted(wrong | extra) if not _inside(name, wrong | extra))
    return Plan(send, remove, sum(here[name].size for name in send))


def _inside(name: bytes, of: Collection[bytes]) -> bool:
    parts = name.split(b"/")
    return any(b"/".join(parts[:end]) in of for end in range(1, len(parts)))


def opened(path: Path) -> FileIO:
    """A file open for reading, without a buffer of its own."""
    return path.open("rb", buffering=0)


def gathered(pieces: Iterator[bytes]) -> bytes:
    """The next pieces as one of some size; empty at the end."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= GATHERED:
            break
    return b"".join(held)


def pack(directory: Path, only: Collection[bytes] | None = None) -> Generator[bytes, None, None]:
    """The directory's content as an archive, in pieces.  only: these names, and nothing else."""
    for name, status in walk(directory):
        if only is None or name in only:
            yield from _packed(_joined(os.fsencode(directory), name), name, status)
    yield tar.END


def _packed(path: bytes, name: bytes, status: os.stat_result) -> Iterator[bytes]:
    mode, mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns
    if stat.S_ISDIR(status.st_mode):
        yield tar.header(Entry(name + b"/", Kind.DIRECTORY, mode=mode, mtime_ns=mtime))
    elif stat.S_ISLNK(status.st_mode):
        target = _target(path)
        yield tar.header(Entry(name, Kind.LINK, mode=mode, mtime_ns=mtime, target=target))
    elif stat.S_ISREG(status.st_mode):
        with os.fdopen(os.open(path, os.O_RDONLY | _OPEN), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            yield tar.header(Entry(name, Kind.FILE, size, mode, mtime))
            left = size
            while left:
                piece = file.read(min(left, PIECE_BYTES)) or bytes(min(left, PIECE_BYTES))  # it has shrunk
                left -= len(piece)
                yield piece
            yield tar.padding(size)
