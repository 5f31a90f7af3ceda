"""An archive of a VM's files into an empty directory.  Everything here blocks."""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from vmpool.backends.trees.packing import BLOCK
from vmpool.backends.trees.vetting import Vetting
from vmpool.backends.trees.walking import OPEN_DIRECTORY, WORK
from vmpool.tar import BadArchive, Entry, Kind, Reader, Refused

_ZEROS: Final = bytes(BLOCK)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


HOST_PLACES: Final = frozenset(
    {
        *(b".vmpool", b"bin", b"dev", b"etc", b"home", b"lib", b"lib32", b"lib64", b"libx32", b"opt"),
        *(b"proc", b"root", b"run", b"sbin", b"srv", b"sys", b"tmp", b"usr", b"var"),
    }
)
"""What a VM's root has at its top by itself: mounted or bound there by the launcher, which follows links."""
ROOT, TOOLS = b"top", b"opt"
"""The part of a disk that is the VM's root, and where in it each toolchain is mounted."""


def check_disk(parts: tuple[bytes, ...], entry: Entry) -> None:
    """Refused for what a disk cannot have: the launcher goes by names, and a link would lead it elsewhere."""
    if parts[0].endswith(WORK):
        raise Refused("it lies where the host puts its own")
    is_place = len(parts) == 1 or (
        parts[0] == ROOT
        and ((len(parts) == 2 and parts[1] in HOST_PLACES) or (len(parts) == 3 and parts[1] == TOOLS))
    )
    if is_place and entry.kind is not Kind.DIRECTORY:
        raise Refused("there is a directory of the host's, which nothing can take the place of")


def unpack(top: int, pieces: Iterable[bytes], vetting: Vetting) -> None:
    """Make what the archive holds below an open, empty directory.

    Refused with the entry's name for what may not be there, BadArchive, TooLarge, OSError.
    """
    reader, making = Reader(), _Making(top, vetting)
    try:
        for piece in pieces:
            for item in reader.feed(piece):
                making.take(item)
        reader.close()
        if not reader.ended:
            raise BadArchive("the archive is cut short")
        making.finish()
    finally:
        making.close()


@contextmanager
def _named(entry: Entry) -> Iterator[None]:
    """Says which entry it was."""
    name = entry.name[:200].decode("utf-8", "replace")
    try:
        yield
    except Refused as error:
        raise Refused(f"'{name}': {error}") from error
    except OSError as error:
        if error.errno == errno.EEXIST:
            raise Refused(f"'{name}': it is there twice") from error
        if error.errno in (errno.EINVAL, errno.EPERM, errno.ENOTSUP, errno.ENOENT, errno.ENAMETOOLONG):
            raise Refused(f"'{name}': it cannot be made here: {error.strerror}") from error
        raise


@dataclass(slots=True)
class _Making:
    top: int
    vetting: Vetting
    _file: int | None = None
    _entry: Entry | None = None
    _at: int = 0
    _directories: list[tuple[tuple[bytes, ...], Entry]] = field(default_factory=list)

    def take(self, item: Entry | bytes | None) -> None:
        """An entry, a piece of its content, or None at its end."""
        if isinstance(item, Entry):
            with _named(item):
                self._begin(item)
        elif item is not None and self._file is not None:
            self._write(self._file, item)
        elif item is None and self._file is not None and self._entry is not None:
            with _named(self._entry):
                os.ftruncate(self._file, self._entry.size)
                self._dress(self._file, self._entry)
            self.close()

    def close(self) -> None:
        """Let go of the file that is being written."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def finish(self) -> None:
        """Directories get their modes and times last: what is made in them changes both."""
        while self._directories:
            parts, entry = self._directories.pop()
            with self._at_directory(parts) as directory:
                self._dress(directory, entry)

    def _begin(self, entry: Entry) -> None:
        parts = self.vetting.check(entry)
        if not parts:
            return  # the top itself
        check_disk(parts, entry)
        if entry.kind is Kind.DIRECTORY:
            self._leave(parts)
            with self._at_directory(parts[:-1]) as above:
                os.mkdir(parts[-1], 0o700, dir_fd=above)
            self._directories.append((parts, entry))
            return
        with self._at_directory(parts[:-1]) as directory:
            self._make(directory, parts[-1], entry)

    def _leave(self, parts: tuple[bytes, ...]) -> None:
        """Finish the directories this one does not lie in: only those that lead to it are kept in mind."""
        while self._directories and self._directories[-1][0] != parts[: len(self._directories[-1][0])]:
            left, entry = self._directories.pop()
            with self._at_directory(left) as directory:
                self._dress(directory, entry)

    def _make(self, directory: int, name: bytes, entry: Entry) -> None:
        match entry.kind:
            case Kind.FILE:
                self._file = os.open(name, _NEW, 0o600, dir_fd=directory)
                self._entry, self._at = entry, 0
                return
            case Kind.LINK:
                os.symlink(entry.target, name, dir_fd=directory)
            case Kind.SECOND_NAME:
                *above, last = (part for part in entry.target.split(b"/") if part not in (b"", b"."))
                with self._at_directory(tuple(above)) as source:
                    os.link(last, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
                return
            case _:
                kind = stat.S_IFIFO if entry.type == tarfile.FIFOTYPE else stat.S_IFCHR
                os.mknod(name, kind | 0o600, os.makedev(0, 0), dir_fd=directory)
        os.chown(name, *entry.owner, dir_fd=directory, follow_symlinks=False)
        if entry.kind is not Kind.LINK:
            os.chmod(name, entry.mode, dir_fd=directory)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _write(self, file: int, piece: bytes) -> None:
        """Zeros become holes again."""
        view = memoryview(piece)
        while view:
            part = view[: BLOCK - self._at % BLOCK]
            if part != _ZEROS[: len(part)]:
                done = 0
                while done < len(part):
                    done += os.pwrite(file, part[done:], self._at + done)
            self._at += len(part)
            view = view[len(part) :]

    @contextmanager
    def _at_directory(self, parts: tuple[bytes, ...]) -> Iterator[int]:
        """The directory, opened step by step and never by a link; Refused where the archive has none."""
        present = os.dup(self.top)
        try:
            for part in parts:
                try:
                    below = os.open(part, OPEN_DIRECTORY, dir_fd=present)
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                        raise
                    raise Refused("the directory it lies in is not in the archive") from error
                os.close(present)
                present = below
            yield present
        finally:
            os.close(present)

    @staticmethod
    def _dress(descriptor: int, entry: Entry) -> None:
        os.fchown(descriptor, *entry.owner)
        for name, value in entry.attributes.items():
            os.setxattr(descriptor, name, value)
        os.fchmod(descriptor, entry.mode)
        os.utime(descriptor, ns=(entry.mtime_ns, entry.mtime_ns))
