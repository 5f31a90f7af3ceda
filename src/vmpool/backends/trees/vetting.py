"""What an archive of a VM's files may hold.  Pure: who unpacks it has the file system's own rules besides."""

from __future__ import annotations

import tarfile
from collections.abc import Collection
from dataclasses import replace

from vmpool.backends.trees.walking import OPAQUE, VM_USER
from vmpool.tar import BLOCK, Entry, Kind, Refused, padding, place

SET_ID = 0o6000
LARGEST_ID = 0xFFFE
"""Of users and groups: a VM has one range of 16 bits."""
MOST_LINKS = 500_000
WRITABLE_BY_OTHERS = 0o022


class TooLarge(ValueError):
    """The files are more than there is room for."""


class Vetting:
    """Of one archive, entry by entry, in their order.

    room: bytes all of it may take, headers and holes included.  reserved: places where the host puts its own:
    there, below and on the way there are only directories and empty files that root alone can change.
    overlay: what hides files is as an overlay has it.
    """

    def __init__(
        self, room: int, reserved: Collection[tuple[bytes, ...]] = (), *, overlay: bool = True
    ) -> None:
        self._room = room
        self._overlay = overlay
        self._reserved = frozenset(reserved)
        self._leading = {one[:end] for one in reserved for end in range(1, len(one))}
        self._links: set[int] = set()

    def check(self, entry: Entry) -> tuple[bytes, ...]:
        """The names that lead to it below the root; Refused, TooLarge."""
        parts = place(entry.name)
        self._room -= BLOCK + entry.size + len(padding(entry.size))
        if self._room < 0:
            raise TooLarge
        if not parts and entry.kind is not Kind.DIRECTORY:
            raise Refused("it has no name")
        self._check_place(parts, entry)
        match entry.kind:
            case Kind.OTHER:
                _check_other(entry, self._overlay)
            case Kind.LINK:
                self._remember(parts, entry)
            case Kind.SECOND_NAME:
                target = place(entry.target)
                if not target:
                    raise Refused("it leads nowhere")
                self._check_place(target, entry)
            case Kind.FILE if entry.mode & SET_ID and entry.owner != VM_USER:
                raise Refused("it would run as another user (setuid or setgid)")
        if not all(0 <= number <= LARGEST_ID for number in entry.owner):
            raise Refused(f"its owner {entry.owner[0]}:{entry.owner[1]} is none of a VM's")
        _check_attributes(entry, self._overlay)
        return parts

    def closed(self, entry: Entry) -> Entry:
        """The same; root's directory among the host's places such that root alone can write to it.

        gVisor makes those it mounts on writable for everybody.
        """
        if entry.kind is Kind.DIRECTORY and entry.owner == (0, 0) and self._is_hosts(place(entry.name)):
            return replace(entry, mode=entry.mode & ~WRITABLE_BY_OTHERS)
        return entry

    def _is_hosts(self, parts: tuple[bytes, ...]) -> bool:
        return parts in self._leading or any(parts[: len(one)] == one for one in self._reserved)

    def _check_place(self, parts: tuple[bytes, ...], entry: Entry) -> None:
        for end in range(1, len(parts) + 1):
            if end < len(parts) and hash(parts[:end]) in self._links:
                raise Refused("it lies behind a link")
        if self._is_hosts(parts) and not _is_roots(entry):
            raise Refused("it lies where the host puts its own")

    def _remember(self, parts: tuple[bytes, ...], entry: Entry) -> None:
        if not entry.target or b"\0" in entry.target or len(entry.target) > 4095:
            raise Refused("it leads nowhere")
        if len(self._links) >= MOST_LINKS:
            raise Refused(f"there are more than {MOST_LINKS} links")
        self._links.add(hash(parts))


def _is_roots(entry: Entry) -> bool:
    plain = entry.kind is Kind.DIRECTORY or (entry.kind is Kind.FILE and not entry.size)
    return plain and entry.owner == (0, 0) and not entry.mode & WRITABLE_BY_OTHERS


def _check_other(entry: Entry, overlay: bool) -> None:
    """A FIFO, or the 0:0 with which an overlay says that something is gone."""
    if entry.type == tarfile.FIFOTYPE:
        return
    if not overlay or entry.type != tarfile.CHRTYPE or entry.device != (0, 0):
        raise Refused("it is a device")


def _check_attributes(entry: Entry, overlay: bool) -> None:
    for name, value in entry.attributes.items():
        if overlay and name in OPAQUE and value in (b"y", b"x"):
            continue
        if not name.startswith("user.") or name.startswith("user.overlay.") or len(name) > 255:
            raise Refused(f"its attribute '{name[:100]}' is not a program's")
