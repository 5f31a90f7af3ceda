"""A tree of files as an archive, and as one checksum.  Everything here blocks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Final

from vmpool.backends.trees.walking import Found, opened, walk
from vmpool.errors import BackendFailed
from vmpool.tar import END, Entry, Kind, header, padding

PIECE: Final = 1 << 20
BLOCK: Final = 1 << 16
_ZEROS: Final = bytes(BLOCK)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def archive_size(top: int) -> int:
    """Bytes of the archive of an open directory."""
    total = len(END)
    for found in walk(top):
        size = found.entry.size
        total += len(header(found.entry)) + size + len(padding(size))
    return total


def pack(top: int, write: Callable[[bytes], object]) -> None:
    """Write the archive of an open directory in which nothing changes meanwhile."""
    for found in walk(top):
        write(header(found.entry))
        if found.entry.kind is Kind.FILE:
            for piece in _content(found):
                write(piece)
            write(padding(found.entry.size))
    write(END)


def _content(found: Found) -> Iterator[bytes]:
    left = found.entry.size
    with opened(found.name, _READ, found.directory) as file:
        while left:
            piece = os.read(file, min(PIECE, left))
            if not piece:
                raise BackendFailed("a file of the snapshot is shorter than it was")
            left -= len(piece)
            yield piece


def checksum(top: int) -> str:
    """SHA-256 over names, kinds, owners, modes, times, attributes and contents.

    Holes are not read; a hole and zeros are the same.
    """
    digest = hashlib.sha256()
    for found in walk(top):
        digest.update(_described(found.entry))
        if found.entry.kind is Kind.FILE:
            with opened(found.name, _READ, found.directory) as file:
                for at, block in data_blocks(file, found.entry.size):
                    digest.update(at.to_bytes(8, "big"))
                    digest.update(block)
    return digest.hexdigest()


def _described(entry: Entry) -> bytes:
    facts = (
        entry.name, entry.kind.name, entry.size, entry.mode, entry.mtime_ns, entry.target, entry.owner,
        sorted(entry.attributes.items()), entry.type, entry.device,
    )  # fmt: skip
    return repr(facts).encode()


def data_blocks(file: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The blocks of an open file that are not all zeros, each with its place."""
    at = 0
    while at < size:
        try:
            at = os.lseek(file, at, os.SEEK_DATA) // BLOCK * BLOCK
        except OSError:  # nothing but a hole to the end
            return
        hole = os.lseek(file, at, os.SEEK_HOLE) if at else _end_of_data(file)
        while at < min(hole, size):
            block = os.pread(file, BLOCK, at)
            if not block:
                return
            if block != _ZEROS[: len(block)]:
                yield at, block
            at += BLOCK


def _end_of_data(file: int) -> int:
    """Of the data that begins somewhere in the first block."""
    return os.lseek(file, os.lseek(file, 0, os.SEEK_DATA), os.SEEK_HOLE)
