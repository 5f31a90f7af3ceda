"""What is known of a file in a VM, and the numbers it crosses the wire in."""

from __future__ import annotations

import stat
import struct
from dataclasses import dataclass

from vmpool.agent.codec import Fields, ProtocolError

_RECORD = struct.Struct("<QQQQ")
"""A record of FILE_LISTED's `entry`: mode, size, mtime, bytes of the name; name and target follow."""
_SIGN = 1 << 63


@dataclass(frozen=True, slots=True)
class FileStatus:
    """mode: with the kind's bits.  size: bytes.  mtime_ns: nanoseconds since 1970.  target: where a symbolic
    link leads, empty for all else."""

    mode: int
    size: int
    mtime_ns: int
    target: bytes = b""

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory; never empty, `.`, `..` or with a slash, whatever the guest says."""

    name: bytes
    status: FileStatus


def status_of(fields: Fields, kind: int = 0) -> FileStatus:
    """From the fields of FILE_STATUS, FILE_DATA or FILE_COMING.  kind: its bits where `mode` has none."""
    return FileStatus(
        mode=kind | (fields.u64("mode") & 0xFFFF),
        size=fields.u64("size"),
        mtime_ns=signed(fields.u64("mtime_ns")),
    )


def entry_of(record: bytes) -> Entry:
    """One entry of a listing; ProtocolError for what cannot be one."""
    if len(record) < _RECORD.size:
        raise ProtocolError("an entry of a directory is cut short")
    mode, size, mtime, length = _RECORD.unpack_from(record)
    named = _RECORD.size + length
    name, target = record[_RECORD.size : named], record[named:]
    if len(name) != length or name in (b"", b".", b"..") or b"/" in name or b"\0" in name + target:
        raise ProtocolError(f"an entry of a directory cannot be called {name[:80]!r}")
    return Entry(name, FileStatus(mode & 0xFFFF, size, signed(mtime), target))


def packed_entry(name: bytes, status: FileStatus) -> bytes:
    """The record of an entry."""
    return _RECORD.pack(status.mode, status.size, unsigned(status.mtime_ns), len(name)) + name + status.target


def signed(number: int) -> int:
    """A time that crossed the wire; before 1970 it is below 0."""
    return number - 2 * _SIGN if number >= _SIGN else number


def unsigned(number: int) -> int:
    """A time as it crosses the wire."""
    return number % (2 * _SIGN)
