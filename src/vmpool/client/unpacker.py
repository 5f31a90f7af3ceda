"""Archives of a VM unpacked on this side.  Everything here blocks.

What comes from a VM is hostile.  It is unpacked below one directory and nowhere else: never through a link,
whether the archive made it or it was there before.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vmpool import tar
from vmpool.tar import Entry, Kind

_OPEN = os.O_CLOEXEC | os.O_NOFOLLOW
_Work = Callable[[tuple[bytes, ...], Entry], None]


@dataclass(slots=True)
class Unpacker:
    """Unpacks one archive below a directory that is there; to be closed.

    refused: what was left out, and why.  size: bytes of files that have come.
    """

    directory: Path
    refused: list[tuple[bytes, str]] = field(default_factory=list)
    size: int = 0
    _reader: tar.Reader = field(default_factory=tar.Reader)
    _placement: tar.Placement = field(default_factory=tar.Placement)
    _links: list[tuple[tuple[bytes, ...], Entry]] = field(default_factory=list)
    _modes: list[tuple[tuple[bytes, ...], int]] = field(default_factory=list)
    _file: int = -1
    _entry: Entry | None = None

    def feed(self, data: bytes) -> None:
        """What comes next; tar.BadArchive, OSError."""
        for event in self._reader.feed(data):
            if isinstance(event, Entry):
                self._begin(event)
            elif event is None:
                self._end()
            elif self._file >= 0:
                _write_all(self._file, event)
                self.size += len(event)

    def finish(self) -> None:
        """That was all: links are made, now that nothing goes through them.  tar.BadArchive if cut short."""
        self._reader.close()
        if not self._reader.ended:
            raise tar.BadArchive("the archive is cut short")
        for parts, entry in self._links:
            self._trying(self._link, parts, entry)
        for parts, mode in reversed(self._modes):
            with _Directory(self.directory, parts) as found:
                os.fchmod(found, mode & 0o777)

    def close(self) -> None:
        """Done with it, whatever is under way."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _begin(self, entry: Entry) -> None:
        self._entry = entry
        try:
            parts = self._placement.of(entry)
            if entry.kind is Kind.SECOND_NAME:
                raise tar.Refused("it is a hard link")
        except tar.Refused as refused:
            self.refused.append((entry.name, str(refused)))
            return
        if entry.kind is Kind.LINK:
            self._links.append((parts, entry))
        elif entry.kind is Kind.DIRECTORY:
            self._trying(self._make, parts, entry)
        else:
            self._trying(self._open, parts, entry)

    def _trying(self, work: _Work, parts: tuple[bytes, ...], entry: Entry) -> None:
        """Leave out what lies behind a link, or in the way of a directory; other failures are ours."""
        try:
            work(parts, entry)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENXIO):
                raise
            self.refused.append((entry.name, error.strerror or str(error)))

    def _make(self, parts: tuple[bytes, ...], entry: Entry) -> None:
        with _Directory(self.directory, parts):
            pass
        if parts and entry.mode & 0o777 != 0o755:
            self._modes.append((parts, entry.mode))

    def _open(self, parts: tuple[bytes, ...], entry: Entry) -> None:
        with _Directory(self.directory, parts[:-1]) as parent:
            _clear(parent, parts[-1])
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | _OPEN
            self._file = os.open(parts[-1], flags, entry.mode & 0o777 | 0o600, dir_fd=parent)

    def _end(self) -> None:
        entry = self._entry
        if self._file >= 0 and entry is not None:
            os.fchmod(self._file, entry.mode & 0o777)
            os.utime(self._file, ns=(entry.mtime_ns, entry.mtime_ns))
        self.close()

    def _link(self, parts: tuple[bytes, ...], entry: Entry) -> None:
        with _Directory(self.directory, parts[:-1]) as parent:
            _clear(parent, parts[-1], regular=True)
            os.symlink(entry.target, parts[-1], dir_fd=parent)


class _Directory:
    """A directory below another, opened name by name and never through a link; made where it is missing."""

    def __init__(self, top: Path, parts: tuple[bytes, ...]) -> None:
        self._top = top
        self._parts = parts
        self._opened = -1

    def __enter__(self) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self._opened = os.open(self._top, flags)
        for part in self._parts:
            try:
                inner = _enter(self._opened, part)
            except BaseException:
                os.close(self._opened)
                raise
            os.close(self._opened)
            self._opened = inner
        return self._opened

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._opened)


def _enter(directory: int, name: bytes) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | _OPEN
    try:
        return os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=directory)
        return os.open(name, flags, dir_fd=directory)


def _clear(directory: int, name: bytes, *, regular: bool = False) -> None:
    """A link or a special file makes room, and a regular one where it cannot be written over."""
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode) and (regular or not stat.S_ISREG(status.st_mode)):
        os.unlink(name, dir_fd=directory)


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
