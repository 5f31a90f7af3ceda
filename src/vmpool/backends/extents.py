"""Where the parts of a file lie on the disk: two that lie at the same place are the same.  It blocks."""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Iterator
from dataclasses import dataclass

FS_IOC_FIEMAP = 0xC020660B
_SYNC = 1
_LAST = 0x1
_UNSURE = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
"""Unknown, not yet at a place, compressed, encrypted, unaligned, inline, packed, or not written."""
_HEAD = struct.Struct("=QQIIII")
_EXTENT = struct.Struct("=QQQQQIIII")
_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes `start` to `end` of a file lie at `place`; None where that says nothing."""

    start: int
    end: int
    place: int | None


def extents(file: int) -> Iterator[Extent]:
    """Those of an open file, in order; OSError where the file system does not say."""
    at = 0
    while True:
        head = _HEAD.pack(at, (1 << 64) - 1 - at, _SYNC, 0, _AT_ONCE, 0)
        answer = bytearray(head + bytes(_EXTENT.size * _AT_ONCE))
        fcntl.ioctl(file, FS_IOC_FIEMAP, answer)
        count = _HEAD.unpack_from(answer)[3]
        for number in range(count):
            logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(
                answer, _HEAD.size + number * _EXTENT.size
            )
            yield Extent(logical, logical + length, None if flags & _UNSURE else physical)
            if flags & _LAST:
                return
            at = logical + length
        if not count:
            return


def places(file: int, chunk: int) -> dict[int, tuple[tuple[int, int, int], ...]]:
    """By number of a chunk, where exactly each of its parts lies; those that are not sure are left out."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    unsure: set[int] = set()
    for extent in extents(file):
        for number in range(extent.start // chunk, (extent.end - 1) // chunk + 1):
            start, end = max(extent.start, number * chunk), min(extent.end, (number + 1) * chunk)
            if extent.place is None:
                unsure.add(number)
            else:
                found.setdefault(number, []).append((start, end, extent.place + start - extent.start))
    return {number: tuple(_joined(parts)) for number, parts in found.items() if number not in unsure}


def _joined(parts: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Neighbours as one: a file system may cut one file's parts where it does not cut another's."""
    present = parts[0]
    for start, end, place in parts[1:]:
        if start == present[1] and place == present[2] + present[1] - present[0]:
            present = (present[0], end, present[2])
        else:
            yield present
            present = (start, end, place)
    yield present
