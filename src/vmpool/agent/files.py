"""The files of one machine, as its agent sees them: with the rights of the VM's user, inside the VM's root.

Paths are bytes, relative ones begin at the home directory.  What the kernel refuses is AgentRefused, by
`reason`; an older agent is AgentTooOld.
"""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from typing import Protocol

from vmpool.agent.codec import ProtocolError, pack
from vmpool.agent.file_values import Entry, FileStatus, entry_of, status_of, unsigned
from vmpool.agent.link import AgentLink, Dial
from vmpool.agent.messages import Message
from vmpool.agent.question import Question
from vmpool.agent.transfer import FileStream, IncomingFile, OutgoingFile
from vmpool.agent.watching import FileWatch
from vmpool.errors import AgentTooOld, AgentUnreachable, InvalidRequest

LONGEST_PATH = 4095
PART_BYTES = 512 << 10
"""Of a file that goes in one message."""
MOST_ENTRIES = 2_000_000
"""Of one directory: more is a guest that makes names up as it is asked."""


class Incoming(Protocol):
    """A file on its way out, to be closed.  length: bytes that come; `status.size` is of the whole."""

    status: FileStatus
    length: int

    def pieces(self) -> AsyncIterator[bytes]:
        """All of them; AgentUnreachable where fewer than `length` come."""

    async def aclose(self) -> None:
        """Done with it."""


class Outgoing(Protocol):
    """A file on its way in, to be closed.  size: bytes it had before."""

    size: int

    async def send(self, data: bytes) -> None:
        """What follows."""

    async def finish(self) -> None:
        """That was all; returns once it is written."""

    async def aclose(self) -> None:
        """Done with it."""


class AgentFiles:
    """Small work goes over the machine's link; the content of large files over connections of their own."""

    def __init__(self, link: AgentLink, dial: Dial) -> None:
        self._link = link
        self._dial = dial

    async def stat(self, path: bytes, *, follow: bool = False) -> FileStatus:
        """What is there.  follow: what a symbolic link leads to."""
        payload = pack(Message.FILE_STAT, path=checked(path), follow=int(follow))
        fields = await self._link.ask(Message.FILE_STAT, payload, Message.FILE_STATUS)
        status = status_of(fields)
        return FileStatus(status.mode, status.size, status.mtime_ns, fields.raw("target"))

    async def page(self, path: bytes, cursor: int = 0, length: int = 0) -> tuple[list[Entry], int | None]:
        """Entries of a directory from `cursor` on, at most `length`, and where the next page begins."""
        payload = pack(Message.FILE_LIST, path=checked(path), cursor=cursor, length=length or None)
        fields = await self._link.ask(Message.FILE_LIST, payload, Message.FILE_LISTED)
        try:
            found = [entry_of(record) for record in fields.many("entry")]
        except ProtocolError as error:
            raise AgentUnreachable(f"the agent's listing is malformed: {error}") from error
        following = fields.u64("next") if "next" in fields else None
        return found, following if found or following != cursor else None

    async def entries(self, path: bytes) -> AsyncIterator[Entry]:
        """All entries of a directory, each name once."""
        seen: set[bytes] = set()
        cursor: int | None = 0
        while cursor is not None:
            found, cursor = await self.page(path, cursor)
            fresh = [entry for entry in found if entry.name not in seen]
            if (found and not fresh) or len(seen) > MOST_ENTRIES:
                raise AgentUnreachable("the agent's listing does not end")
            for entry in fresh:
                seen.add(entry.name)
                yield entry

    async def make_directory(
        self, path: bytes, *, mode: int | None = None, parents: bool = False, existing: bool = False
    ) -> None:
        """Make a directory.  existing: one that is there is no error, and gets the mode."""
        await self.make_soon(path, mode=mode, parents=parents, existing=existing).wait()

    def make_soon(
        self,
        path: bytes,
        *,
        mode: int | None = None,
        parents: bool = False,
        existing: bool = False,
        target: bytes | None = None,
        source: bytes | None = None,
    ) -> Question:
        """Ask for a directory, for a symbolic link to `target`, or for a second name of `source`."""
        payload = pack(
            Message.FILE_MAKE,
            path=checked(path),
            mode=mode,
            parents=int(parents),
            existing=int(existing),
            target=target,
            source=None if source is None else checked(source),
        )
        return self._link.question(Message.FILE_MAKE, payload, Message.DONE, once=not existing)

    async def change(self, path: bytes, *, mode: int | None = None, mtime_ns: int | None = None) -> None:
        """Set permission bits (of what a link leads to) or the time of change (of the link itself)."""
        time = None if mtime_ns is None else unsigned(mtime_ns)
        payload = pack(Message.FILE_CHANGE, path=checked(path), mode=mode, mtime_ns=time)
        await self._link.ask(Message.FILE_CHANGE, payload, Message.DONE)

    async def move(self, path: bytes, to: bytes, *, replace: bool = False) -> None:
        """Give it another name; AgentRefused `exists`, `cross_device`."""
        payload = pack(Message.FILE_MOVE, path=checked(path), to=checked(to), replace=int(replace))
        await self._link.question(Message.FILE_MOVE, payload, Message.DONE, once=True).wait()

    async def remove(self, path: bytes, *, tree: bool = False) -> None:
        """Remove a file, a link, an empty directory, or (tree) a directory with all it holds."""
        payload = pack(Message.FILE_REMOVE, path=checked(path), tree=int(tree))
        while True:
            asked = self._link.question(Message.FILE_REMOVE, payload, Message.FILE_REMOVED, once=True)
            if not (await asked.wait()).u64("more"):
                return

    def read_soon(self, path: bytes, *, offset: int = 0, length: int = PART_BYTES) -> Question:
        """Ask for a part of a file: a FILE_DATA with `data`."""
        payload = pack(Message.FILE_READ, path=checked(path), offset=offset, length=length)
        return self._link.question(Message.FILE_READ, payload, Message.FILE_DATA)

    def write_soon(
        self,
        path: bytes,
        data: bytes,
        *,
        offset: int = 0,
        truncate: bool = True,
        mode: int | None = None,
        parents: bool = False,
        mtime_ns: int | None = None,
    ) -> Question:
        """Ask for a part of a file, at most PART_BYTES, to be written."""
        payload = pack(
            Message.FILE_WRITE,
            path=checked(path),
            offset=offset,
            truncate=int(truncate),
            mode=mode,
            data=data,
            parents=int(parents),
            mtime_ns=None if mtime_ns is None else unsigned(mtime_ns),
        )
        return self._link.question(Message.FILE_WRITE, payload, Message.DONE)

    async def get(self, path: bytes, *, offset: int = 0, length: int | None = None) -> Incoming:
        """A file's content from `offset` on, at most `length` bytes; close what this answers."""
        checked(path)
        try:
            stream = await FileStream.open(await self._dial())
        except AgentTooOld:
            return await _IncomingParts.begin(self, path, offset, length)
        try:
            payload = pack(Message.FILE_GET, path=path, offset=offset, length=length)
            return IncomingFile(stream, await stream.ask(Message.FILE_GET, payload, Message.FILE_COMING))
        except BaseException:
            await stream.aclose()
            raise

    async def watch(self, path: bytes, *, recursive: bool) -> FileWatch:
        """What changes in a directory (recursive: and below it); close what this answers.

        AgentRefused `not_a_directory`, `too_many_watches`; AgentTooOld.
        """
        return await FileWatch.open(await self._dial(), checked(path), recursive=recursive)

    async def put(
        self,
        path: bytes,
        *,
        offset: int = 0,
        mode: int | None = None,
        parents: bool = False,
        mtime_ns: int | None = None,
    ) -> Outgoing:
        """Replace a file's content from `offset` on; close what this answers.

        It is written in place: a reader sees what has come so far.
        """
        checked(path)
        try:
            stream = await FileStream.open(await self._dial())
        except AgentTooOld:
            return _OutgoingParts(self, path, offset, mode, parents)
        try:
            time = None if mtime_ns is None else unsigned(mtime_ns)
            payload = pack(
                Message.FILE_PUT,
                path=path,
                offset=offset,
                truncate=1,
                mode=mode,
                parents=int(parents),
                mtime_ns=time,
            )
            return OutgoingFile(stream, await stream.ask(Message.FILE_PUT, payload, Message.FILE_READY))
        except BaseException:
            await stream.aclose()
            raise


def checked(path: bytes) -> bytes:
    """The path; InvalidRequest for what can be none."""
    if not 0 < len(path) <= LONGEST_PATH:
        raise InvalidRequest("path", f"must be 1 to {LONGEST_PATH} bytes")
    if b"\0" in path:
        raise InvalidRequest("path", "a path cannot hold a NUL byte")
    return path


class _IncomingParts:
    """Implements `Incoming` over an agent that knows only FILE_READ."""

    def __init__(self, files: AgentFiles, path: bytes, offset: int, length: int, status: FileStatus) -> None:
        self._files = files
        self._path = path
        self._offset = offset
        self.length = length
        self.status = status

    @classmethod
    async def begin(cls, files: AgentFiles, path: bytes, offset: int, length: int | None) -> _IncomingParts:
        status = status_of(await files.read_soon(path, length=0).wait(), stat.S_IFREG)
        left = max(0, status.size - offset)
        return cls(files, path, offset, left if length is None else min(left, length), status)

    async def pieces(self) -> AsyncIterator[bytes]:
        at, end = self._offset, self._offset + self.length
        while at < end:
            asked = self._files.read_soon(self._path, offset=at, length=min(PART_BYTES, end - at))
            data = (await asked.wait()).raw("data")
            if not data or len(data) > end - at:
                raise AgentUnreachable("the file was changed while it was read")
            at += len(data)
            yield data

    async def aclose(self) -> None:
        """Nothing is open."""


class _OutgoingParts:
    """Implements `Outgoing` over an agent that knows only FILE_WRITE; the time of change stays today's."""

    size = 0

    def __init__(self, files: AgentFiles, path: bytes, offset: int, mode: int | None, parents: bool) -> None:
        self._files = files
        self._path = path
        self._at = offset
        self._mode = mode
        self._parents = parents
        self._truncate = True

    async def send(self, data: bytes) -> None:
        for at in range(0, len(data), PART_BYTES):
            await self._write(data[at : at + PART_BYTES])

    async def _write(self, data: bytes) -> None:
        asked = self._files.write_soon(
            self._path,
            data,
            offset=self._at,
            truncate=self._truncate,
            mode=self._mode,
            parents=self._parents,
        )
        await asked.wait()
        self._at += len(data)
        self._truncate = False

    async def finish(self) -> None:
        if self._truncate:
            await self._write(b"")

    async def aclose(self) -> None:
        """Nothing is open."""
