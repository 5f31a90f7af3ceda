"""Changes below a directory of a machine, as its agent tells of them, over a connection of their own.

What the agent tells is inotify's (man 7 inotify): here it becomes what people call it.  The guest is hostile:
what it says happened need not have.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from enum import IntFlag, StrEnum

from anyio.abc import ByteStream

from vmpool.agent.codec import Fields, ProtocolError, pack
from vmpool.agent.messages import SINCE, Message, Reason
from vmpool.agent.transfer import FileStream
from vmpool.errors import AgentRefused, AgentUnreachable

_HEADER = struct.Struct("<II")


class Mask(IntFlag):
    """What inotify calls it."""

    MODIFY = 0x2
    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    ISDIR = 0x40000000


class ChangeKind(StrEnum):
    """What happened."""

    CREATED = "created"
    CHANGED = "changed"
    ATTRIBUTES = "attributes"
    REMOVED = "removed"
    MOVED = "moved"
    LOST = "lost"


_KINDS = {
    Mask.CREATE: ChangeKind.CREATED,
    Mask.MOVED_TO: ChangeKind.CREATED,
    Mask.MODIFY: ChangeKind.CHANGED,
    Mask.CLOSE_WRITE: ChangeKind.CHANGED,
    Mask.ATTRIB: ChangeKind.ATTRIBUTES,
    Mask.DELETE: ChangeKind.REMOVED,
    Mask.MOVED_FROM: ChangeKind.REMOVED,
    Mask.DELETE_SELF: ChangeKind.REMOVED,
    Mask.MOVE_SELF: ChangeKind.REMOVED,
    Mask.UNMOUNT: ChangeKind.REMOVED,
}


@dataclass(frozen=True, slots=True)
class Change:
    """One change.  path: relative to what is watched, empty for that itself and for LOST.

    moved_from: where it was, of MOVED.  LOST: changes went by unseen, look anew.
    """

    kind: ChangeKind
    path: bytes = b""
    is_directory: bool = False
    moved_from: bytes | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One change as the agent tells it.  cookie: the same for both halves of a move, else 0."""

    mask: Mask
    cookie: int
    path: bytes


def record_of(data: bytes) -> Record:
    """ProtocolError for what cannot be one."""
    if len(data) < _HEADER.size:
        raise ProtocolError("a change is cut short")
    mask, cookie = _HEADER.unpack_from(data)
    path = data[_HEADER.size :]
    if path.startswith(b"/") or b"\0" in path or b".." in path.split(b"/"):
        raise ProtocolError(f"a change cannot be at {path[:80]!r}")
    return Record(Mask(mask), cookie, path)


def packed_record(mask: Mask, cookie: int, path: bytes) -> bytes:
    """The record of a change."""
    return _HEADER.pack(mask, cookie) + path


def changes_of(records: Iterable[Record]) -> list[Change]:
    """Both halves of a move become one change, and what says nothing new goes.

    A half without the other is a file that came from, or went to, where nobody watches.
    """
    found: dict[int, Change] = {}
    left: dict[int, int] = {}
    last: dict[bytes, ChangeKind] = {}
    for number, record in enumerate(records):
        kind = next((kind for mask, kind in _KINDS.items() if mask & record.mask), None)
        if kind is None:
            continue
        directory = bool(record.mask & Mask.ISDIR) or not record.path
        if record.mask & Mask.MOVED_FROM:
            left[record.cookie] = number
        elif record.mask & Mask.MOVED_TO and (other := left.pop(record.cookie, None)) is not None:
            moved = found.pop(other)
            last.pop(moved.path, None)
            found[number] = Change(ChangeKind.MOVED, record.path, directory, moved.path)
            last[record.path] = ChangeKind.MOVED
            continue
        if last.get(record.path) is not kind:
            last[record.path] = kind
            found[number] = Change(kind, record.path, directory)
        else:
            left.pop(record.cookie, None)
    return list(found.values())


class FileWatch:
    """A directory that is watched, to be closed.  directories: how many of it are."""

    def __init__(self, stream: FileStream, directories: int) -> None:
        self._stream = stream
        self.directories = directories

    @classmethod
    async def open(cls, stream: ByteStream, path: bytes, *, recursive: bool) -> FileWatch:
        """Watch; returns once everything is.

        AgentRefused, AgentTooOld, AgentUnreachable; the stream is closed then.
        """
        opened = await FileStream.open(stream, since=SINCE[Message.FILE_WATCH])
        try:
            payload = pack(Message.FILE_WATCH, path=path, recursive=int(recursive))
            fields = await opened.ask(Message.FILE_WATCH, payload, Message.FILE_WATCHING)
        except BaseException:
            await opened.aclose()
            raise
        return cls(opened, fields.u64("directories"))

    async def changes(self) -> AsyncIterator[list[Change]]:
        """What happens, some at a time, until the directory is no more; AgentUnreachable."""
        while True:
            try:
                fields = await self._stream.answer(Message.FILE_CHANGED, stall=None)
            except AgentRefused as refused:
                if refused.reason == Reason.GONE:
                    return
                raise
            if found := _told(fields):
                yield found

    async def aclose(self) -> None:
        """Watch no more."""
        await self._stream.aclose()


def _told(fields: Fields) -> list[Change]:
    try:
        found = changes_of([record_of(data) for data in fields.many("change")])
    except ProtocolError as error:
        raise AgentUnreachable(f"the agent's changes are malformed: {error}") from error
    if fields.u64("lost") or fields.u64("unwatched"):
        found.append(Change(ChangeKind.LOST))
    return found
