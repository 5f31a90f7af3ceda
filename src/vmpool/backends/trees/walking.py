"""What a directory holds, in one order, by descriptors.  Everything here blocks."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vmpool.tar import Entry, Kind, Refused

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
VM_USER = (1000, 1000)
WORK = b".work"
"""Ends the name of what an overlay needs for itself, at the top of a disk; it is made anew at every start."""
LEFT_OUT = (b"lost+found",)
"""What the file system itself has at its top."""
MOST_DEPTH = 500
"""Directories in one another; each is open while what is in it is looked at."""
OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
"""Says that a directory hides what is below it."""


@dataclass(frozen=True, slots=True)
class Found:
    """An entry, with where it is to be read: a name in an open directory."""

    entry: Entry
    directory: int
    name: bytes


def walk(top: int) -> Iterator[Found]:
    """Everything below an open directory, a directory before what is in it.

    A descriptor in what is given holds until the next is asked for.  Sockets are left out: nobody listens.
    Refused for a tree that is too deep.
    """
    yield from _inside(top, b"", {}, 0)


def _inside(directory: int, prefix: bytes, seen: dict[tuple[int, int], bytes], depth: int) -> Iterator[Found]:
    if depth > MOST_DEPTH:
        raise Refused(f"directories lie more than {MOST_DEPTH} deep in one another")
    for text in sorted(map(os.fsencode, os.listdir(directory))):
        if depth == 0 and (text.endswith(WORK) or text in LEFT_OUT):
            continue
        status = os.stat(text, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISSOCK(status.st_mode):
            continue
        name = prefix + text
        yield Found(_entry(directory, text, name, status, seen), directory, text)
        if stat.S_ISDIR(status.st_mode):
            with opened(text, OPEN_DIRECTORY, directory) as below:
                yield from _inside(below, name + b"/", seen, depth + 1)


@contextmanager
def opened(name: bytes, flags: int, directory: int) -> Iterator[int]:
    """A name in an open directory, opened and closed."""
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _entry(
    directory: int, text: bytes, name: bytes, status: os.stat_result, seen: dict[tuple[int, int], bytes]
) -> Entry:
    common = (stat.S_IMODE(status.st_mode), max(0, status.st_mtime_ns))
    owner = (status.st_uid, status.st_gid)
    attributes = _attributes(directory, text, status)
    if stat.S_ISDIR(status.st_mode):
        return Entry(name + b"/", Kind.DIRECTORY, 0, *common, b"", owner, attributes)
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(text, dir_fd=directory)
        return Entry(name, Kind.LINK, 0, *common, target, owner)
    first = seen.get((status.st_dev, status.st_ino)) if status.st_nlink > 1 else None
    if first is not None:
        return Entry(name, Kind.SECOND_NAME, 0, *common, first, owner)
    if status.st_nlink > 1:
        seen[status.st_dev, status.st_ino] = name
    if stat.S_ISREG(status.st_mode):
        mode = common[0]
        if owner != VM_USER:  # nothing in a VM gains anything by it, and nobody takes it in
            mode &= ~(stat.S_ISUID | stat.S_ISGID)
        return Entry(name, Kind.FILE, status.st_size, mode, common[1], b"", owner, attributes)
    kind = tarfile.FIFOTYPE if stat.S_ISFIFO(status.st_mode) else tarfile.CHRTYPE
    device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    return Entry(name, Kind.OTHER, 0, *common, b"", owner, {}, kind, device)


def _attributes(directory: int, text: bytes, status: os.stat_result) -> Mapping[str, bytes]:
    """Extended attributes a program set, and whether a directory hides what is below it."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return {}
    path = b"/proc/self/fd/%d/%s" % (directory, text)
    found: dict[str, bytes] = {}
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        of_a_program = name.startswith("user.") and not name.startswith("user.overlay.")
        if of_a_program or name in OPAQUE:
            found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found
