"""Directories of a VM as tar archives, made as they are read, in constant memory.

Small files go several at once over the machine's link; each large one over a connection of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from vmpool import tar
from vmpool.agent.file_values import Entry as Found
from vmpool.agent.file_values import FileStatus
from vmpool.agent.files import LONGEST_PATH, AgentFiles
from vmpool.agent.messages import Reason
from vmpool.agent.question import Question
from vmpool.errors import AgentRefused, FileRefused
from vmpool.pool.files import VMFiles, refusals, shown
from vmpool.tar import Entry, Kind

SMALL = 128 << 10
"""Bytes of a file that goes as one message."""
AHEAD = 32
"""Messages on their way at once."""
AHEAD_BYTES = 1 << 20
"""Bytes of small files on their way at once."""
GATHERED = 256 << 10
"""Bytes of an archive that are sent as one piece."""


async def archive(files: VMFiles, path: bytes) -> AsyncIterator[bytes]:
    """The directory's content as a tar archive, in pieces; names are relative to it.

    Directories, files and links; what else lies there is left out, and so is what goes away meanwhile.
    Raises before the first piece where the path is no directory.
    """
    agent = files.agent
    with refusals(path):
        status = await agent.stat(path, follow=True)
    if not status.is_directory:
        raise FileRefused(shown(path), Reason.NOT_A_DIRECTORY, "Not a directory")
    return _gathered(_Archive(files, agent).pieces(path, status))


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in larger pieces."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= GATHERED:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held) + tar.END


@dataclass(slots=True)
class _Archive:
    """One walk.  `_reads`: small files that are being read, in their order."""

    files: VMFiles
    agent: AgentFiles
    _reads: deque[tuple[bytes, FileStatus, Question]] = field(default_factory=deque)
    _reading: int = 0

    async def pieces(self, top: bytes, status: FileStatus) -> AsyncIterator[bytes]:
        yield tar.header(_entry(b"./", Kind.DIRECTORY, status))
        waiting: list[bytes] = [b""]
        try:
            while waiting:
                below = waiting.pop()
                try:
                    async for found in self.agent.entries(join(top, below)):
                        name = join(below, found.name)
                        if found.status.is_directory and len(join(top, name)) <= LONGEST_PATH:
                            waiting.append(name)
                        async for piece in self._one(top, name, found):
                            yield piece
                except AgentRefused as refused:
                    if refused.reason != Reason.NOT_FOUND:
                        raise FileRefused(shown(below), refused.reason, refused.message) from refused
            while self._reads:
                yield await self._read()
        finally:
            for _, _, question in self._reads:
                question.drop()

    async def _one(self, top: bytes, name: bytes, found: Found) -> AsyncIterator[bytes]:
        status = found.status
        if len(join(top, name)) > LONGEST_PATH:
            return  # it can be reached by no path
        if status.is_directory:
            yield tar.header(_entry(name + b"/", Kind.DIRECTORY, status))
        elif status.is_link:
            yield tar.header(_entry(name, Kind.LINK, status, target=status.target))
        elif status.is_file and status.size <= SMALL:
            while len(self._reads) >= AHEAD or (self._reads and self._reading + status.size > AHEAD_BYTES):
                yield await self._read()
            self._reading += status.size
            self._reads.append((name, status, self.agent.read_soon(join(top, name), length=SMALL)))
        elif status.is_file:
            async for piece in self._large(join(top, name), name):
                yield piece

    async def _read(self) -> bytes:
        """The oldest small file; nothing where it has gone, or may not be read."""
        name, status, question = self._reads.popleft()
        self._reading -= status.size
        try:
            data = (await question.wait()).raw("data")
        except AgentRefused:
            return b""
        head = tar.header(_entry(name, Kind.FILE, status, size=len(data)))
        return b"".join((head, data, tar.padding(len(data))))

    async def _large(self, path: bytes, name: bytes) -> AsyncIterator[bytes]:
        try:
            incoming = await self.agent.get(path)
        except AgentRefused:
            return
        try:
            yield tar.header(_entry(name, Kind.FILE, incoming.status, size=incoming.length))
            async for piece in self.files.pieces(incoming):
                yield piece
            yield tar.padding(incoming.length)
        finally:
            await incoming.aclose()


def _entry(name: bytes, kind: Kind, status: FileStatus, *, size: int = 0, target: bytes = b"") -> Entry:
    return Entry(name, kind, size, status.mode & 0o7777, status.mtime_ns, target)


def join(top: bytes, name: bytes) -> bytes:
    """The path of a name below a directory; no name means the directory itself."""
    if not name:
        return top
    return name if not top else top.rstrip(b"/") + b"/" + name if top != b"/" else b"/" + name
