"""Tar archives unpacked into a VM as they come, in constant memory.  What is read may be hostile."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from vmpool import tar
from vmpool.agent.files import LONGEST_PATH, AgentFiles, Outgoing
from vmpool.agent.messages import Reason
from vmpool.agent.question import Question
from vmpool.errors import AgentRefused, DiskFull, InvalidRequest
from vmpool.pool.archives import AHEAD, AHEAD_BYTES, SMALL, join
from vmpool.pool.files import VMFiles, refusals, shown
from vmpool.tar import Entry, Kind

MOST_REFUSED = 100
"""Refusals that are told one by one."""
MOST_CLOSED = 100_000
"""Directories that nobody may write to, once they are full."""


@dataclass(frozen=True, slots=True)
class RefusedEntry:
    """An entry that was left out, and why."""

    name: bytes
    problem: str


@dataclass(slots=True)
class Unpacked:
    """What came of an archive.  size: bytes of files.  more_refused: refusals that are not listed."""

    entries: int = 0
    size: int = 0
    refused: list[RefusedEntry] = field(default_factory=list)
    more_refused: int = 0

    def refuse(self, name: bytes, problem: str) -> None:
        """Leave an entry out."""
        if len(self.refused) < MOST_REFUSED:
            self.refused.append(RefusedEntry(name, problem))
        else:
            self.more_refused += 1


async def unpack(files: VMFiles, path: bytes, content: AsyncIterator[bytes], limit: int) -> Unpacked:
    """Unpack an archive into a directory, which is made if need be.

    limit: bytes of files at most.  Entries that are refused are left out and told; what was unpacked before
    an error stays.  Raises InvalidRequest for what is no archive, DiskFull.
    """
    unpacking = _Unpacking(files, files.agent, path, limit)
    reader = tar.Reader()
    try:
        with refusals(path):
            await unpacking.agent.make_directory(path, parents=True, existing=True)
            async for data in content:
                for event in reader.feed(data):
                    await unpacking.take(event)
            reader.close()
            await unpacking.finish()
    except tar.BadArchive as error:
        raise InvalidRequest("body", str(error)) from error
    finally:
        await unpacking.aclose()
    return unpacking.done


@dataclass(slots=True)
class _Unpacking:
    files: VMFiles
    agent: AgentFiles
    top: bytes
    limit: int
    done: Unpacked = field(default_factory=Unpacked)
    _placement: tar.Placement = field(default_factory=tar.Placement)
    _asked: deque[tuple[bytes, int, Question]] = field(default_factory=deque)
    _asked_bytes: int = 0
    _modes: list[tuple[bytes, int]] = field(default_factory=list)  # of directories one could not write to
    _entry: Entry | None = None
    _path: bytes | None = None  # None: the entry is left out
    _held: bytearray = field(default_factory=bytearray)
    _large: _Large | None = None

    async def take(self, event: Entry | bytes | None) -> None:
        """An entry, a piece of its content, or its end."""
        if isinstance(event, Entry):
            await self._begin(event)
        elif self._path is None:
            return
        elif event is None:
            await self._end()
        elif self._large is not None:
            await self._large.send(event)
        else:
            self._held += event

    async def _begin(self, entry: Entry) -> None:
        self._entry, self._path = entry, None
        self._held.clear()
        try:
            parts = self._placement.of(entry)
            path = join(self.top, b"/".join(parts))
            if len(path) > LONGEST_PATH:
                raise tar.Refused("its path is too long")
        except tar.Refused as refused:
            self.done.refuse(entry.name, str(refused))
            return
        self.done.entries += 1
        self.done.size += entry.size
        if self.done.size > self.limit:
            raise DiskFull(shown(entry.name))
        self._path = path
        if entry.kind is Kind.FILE and entry.size > SMALL:
            await self._settle()
            self._large = await _Large.open(self, self._path, entry)
            if self._large is None:
                self._path = None

    async def _end(self) -> None:
        entry, path = self._entry, self._path
        assert entry is not None and path is not None
        if self._large is not None:
            large, self._large = self._large, None
            await large.finish()
        elif entry.kind is Kind.FILE:
            data = bytes(self._held)
            asked = self.agent.write_soon(path, data, mode=entry.mode, parents=True, mtime_ns=entry.mtime_ns)
            await self._ask(entry.name, len(data), asked)
        elif entry.kind is Kind.DIRECTORY:
            if entry.mode & 0o300 != 0o300 and len(self._modes) < MOST_CLOSED:
                self._modes.append((path, entry.mode))
            asked = self.agent.make_soon(path, mode=entry.mode | 0o700, parents=True, existing=True)
            await self._ask(entry.name, 0, asked)
        else:
            await self._link(entry, path)

    async def _link(self, entry: Entry, path: bytes) -> None:
        """A link takes the place of what had its name; only a directory that is not empty stays."""
        await self._settle()
        source = None
        if entry.kind is Kind.SECOND_NAME:
            source = join(self.top, b"/".join(tar.place(entry.target)))
        target = entry.target if entry.kind is Kind.LINK else None
        try:
            for last in (False, True):
                asked = self.agent.make_soon(path, parents=True, target=target, source=source)
                try:
                    await asked.wait()
                    break
                except AgentRefused as refused:
                    if refused.reason != Reason.EXISTS or last:
                        raise
                await self.agent.remove(path)
        except AgentRefused as refused:
            self._left_out(entry.name, refused)

    async def _ask(self, name: bytes, size: int, question: Question) -> None:
        self._asked.append((name, size, question))
        self._asked_bytes += size
        while len(self._asked) > AHEAD or (len(self._asked) > 1 and self._asked_bytes > AHEAD_BYTES):
            await self._answered()

    async def _answered(self) -> None:
        name, size, question = self._asked.popleft()
        self._asked_bytes -= size
        try:
            await question.wait()
        except AgentRefused as refused:
            self._left_out(name, refused)

    def _left_out(self, name: bytes, refused: AgentRefused) -> None:
        if refused.reason in (Reason.NO_SPACE, Reason.NO_MEMORY):
            raise refused
        self.done.entries -= 1
        self.done.refuse(name, refused.message)

    async def _settle(self) -> None:
        while self._asked:
            await self._answered()
        self.files.used()

    async def finish(self) -> None:
        """All entries are there: wait for the last, and close what was open to be written to."""
        await self._settle()
        for path, mode in reversed(self._modes):
            try:
                await self.agent.change(path, mode=mode)
            except AgentRefused as refused:
                self._left_out(path, refused)

    async def aclose(self) -> None:
        """Whatever is under way is given up."""
        for _, _, question in self._asked:
            question.drop()
        if self._large is not None:
            await self._large.aclose()


class _Large:
    """A large file on its way in; one that is refused in the middle is left out, with what has come."""

    def __init__(self, unpacking: _Unpacking, entry: Entry, outgoing: Outgoing) -> None:
        self._unpacking = unpacking
        self._entry = entry
        self._outgoing: Outgoing | None = outgoing

    @classmethod
    async def open(cls, unpacking: _Unpacking, path: bytes, entry: Entry) -> _Large | None:
        """None where it is refused at once."""
        try:
            outgoing = await unpacking.agent.put(path, mode=entry.mode, parents=True, mtime_ns=entry.mtime_ns)
        except AgentRefused as refused:
            unpacking._left_out(entry.name, refused)
            return None
        return cls(unpacking, entry, outgoing)

    async def send(self, data: bytes) -> None:
        if self._outgoing is not None:
            try:
                await self._outgoing.send(data)
            except AgentRefused as refused:
                await self._give_up(refused)

    async def finish(self) -> None:
        if self._outgoing is not None:
            try:
                await self._outgoing.finish()
            except AgentRefused as refused:
                await self._give_up(refused)
            await self.aclose()

    async def _give_up(self, refused: AgentRefused) -> None:
        await self.aclose()
        self._unpacking._left_out(self._entry.name, refused)

    async def aclose(self) -> None:
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is not None:
            await outgoing.aclose()
