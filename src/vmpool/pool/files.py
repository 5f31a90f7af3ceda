"""The files of running VMs: each verb for one VM, whatever is in it."""

from __future__ import annotations

import posixpath
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio

from vmpool.agent.file_values import Entry, FileStatus
from vmpool.agent.files import AgentFiles, Incoming, Outgoing
from vmpool.agent.messages import Reason
from vmpool.agent.watching import Change, ChangeKind, FileWatch
from vmpool.domain import VM, VMState
from vmpool.errors import (
    AgentRefused,
    DiskFull,
    FileChanged,
    FileRefused,
    InvalidRequest,
    PathNotFound,
    VMNotRunning,
)
from vmpool.pool.context import Context, key_of

USED_EVERY = 5.0
"""Seconds after which a transfer that goes on is use of its VM again."""
_CALLERS = frozenset(
    {
        Reason.PERMISSION,
        Reason.NOT_A_FILE,
        Reason.NOT_A_DIRECTORY,
        Reason.EXISTS,
        Reason.NOT_EMPTY,
        Reason.CROSS_DEVICE,
        Reason.NOT_SUPPORTED,
        Reason.TOO_MANY_WATCHES,
    }
)
"""What the caller can do something about; anything else is a fault of the machine."""


def shown(path: bytes) -> str:
    """A path for people: what is no text is escaped."""
    return path.decode("utf-8", "backslashreplace")


@contextmanager
def refusals(path: bytes) -> Iterator[None]:
    """What the agent refuses, as the error of the caller that it is."""
    try:
        yield
    except AgentRefused as refused:
        match refused.reason:
            case Reason.NOT_FOUND:
                raise PathNotFound(shown(path)) from refused
            case Reason.NO_SPACE:
                raise DiskFull(shown(path)) from refused
            case Reason.BAD_REQUEST:
                raise InvalidRequest("path", f"'{shown(path)}': {refused.message}") from refused
            case reason if reason in _CALLERS:
                raise FileRefused(shown(path), reason, refused.message) from refused
        raise


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be so for a file to be written.  tag: its version, as `version_of` has it; "*": any.

    absent: it must not be there.  size: bytes it must have.
    """

    tag: str | None = None
    absent: bool = False
    size: int | None = None

    def check(self, path: bytes, status: FileStatus | None) -> None:
        """FileChanged unless it holds.  status: None for what is not there."""
        if self.absent and status is not None:
            raise FileChanged(shown(path), "is there already", status.size)
        if self.tag is not None and (status is None or self.tag not in ("*", version_of(status))):
            raise FileChanged(shown(path), "is not what it was", None if status is None else status.size)
        if self.size is not None and (0 if status is None else status.size) != self.size:
            size = 0 if status is None else status.size
            raise FileChanged(shown(path), f"has {size} bytes, not {self.size}", size)


def version_of(status: FileStatus) -> str:
    """What changes when a file's content does."""
    return f"{status.size:x}-{status.mtime_ns & (1 << 64) - 1:x}"


class Files:
    """Ways to the agents of running VMs."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def of(self, vm: VM) -> AgentFiles:
        """The agent's, for a VM that runs; being asked is use of the VM."""
        if vm.state is not VMState.RUNNING:
            raise VMNotRunning(vm.id, vm.state.value)
        self.used(vm)
        return self._context.connections.get(key_of(vm)).files

    def used(self, vm: VM) -> None:
        """The VM is not idle."""
        self._context.registry.touch(vm.id, self._context.clock())


class VMFiles:
    """One VM's files: stat, list, make, move, remove, change, and content in pieces.

    Raises VMNotRunning, PathNotFound, FileRefused, DiskFull, InvalidRequest, and InfrastructureFailure.
    """

    def __init__(self, files: Files, vm: VM) -> None:
        self._files = files
        self.vm = vm

    @property
    def agent(self) -> AgentFiles:
        """The agent's own; being asked is use of the VM.  VMNotRunning."""
        return self._files.of(self.vm)

    def used(self) -> None:
        """The VM is not idle."""
        self._files.used(self.vm)

    async def stat(self, path: bytes, *, follow: bool) -> FileStatus:
        """What is there.  follow: what a link leads to."""
        with refusals(path):
            return await self.agent.stat(path, follow=follow)

    async def page(self, path: bytes, cursor: int, limit: int) -> tuple[list[Entry], int | None]:
        """Some entries of a directory, in no order, and where the next ones begin."""
        with refusals(path):
            return await self.agent.page(path, cursor, limit)

    async def make_directory(
        self, path: bytes, *, mode: int | None, parents: bool, existing: bool
    ) -> FileStatus:
        """Make a directory; how it is then."""
        agent = self.agent
        with refusals(path):
            await agent.make_directory(path, mode=mode, parents=parents, existing=existing)
            return await agent.stat(path, follow=True)

    async def change(self, path: bytes, *, mode: int | None, mtime_ns: int | None) -> FileStatus:
        """Set permission bits or the time of change; how it is then."""
        agent = self.agent
        with refusals(path):
            await agent.change(path, mode=mode, mtime_ns=mtime_ns)
            return await agent.stat(path)

    async def move(self, path: bytes, to: bytes, *, replace: bool) -> FileStatus:
        """Give it another name, within one file system of the VM; how it is then."""
        agent = self.agent
        with refusals(path):
            await agent.move(path, to, replace=replace)
        with refusals(to):
            return await agent.stat(to)

    async def remove(self, path: bytes, *, tree: bool) -> None:
        """Remove it; a directory that is not empty only with `tree`."""
        with refusals(path):
            await self.agent.remove(path, tree=tree)

    async def get(self, path: bytes, offset: int = 0, length: int | None = None) -> Incoming:
        """Content from `offset` on; close what this answers."""
        with refusals(path):
            return await self.agent.get(path, offset=offset, length=length)

    async def pieces(self, incoming: Incoming) -> AsyncIterator[bytes]:
        """Its content, with the VM in use as long as it takes."""
        again = anyio.current_time() + USED_EVERY
        async for piece in incoming.pieces():
            yield piece
            if anyio.current_time() >= again:
                self.used()
                again = anyio.current_time() + USED_EVERY

    async def put(
        self,
        path: bytes,
        content: AsyncIterator[bytes],
        *,
        offset: int,
        condition: Condition,
        mode: int | None,
        parents: bool,
        mtime_ns: int | None,
    ) -> FileStatus:
        """Replace a file's content from `offset` on; how it is then."""
        agent = self.agent
        with refusals(path):
            if condition != Condition():
                condition.check(path, await _present(agent, path))
            outgoing = await agent.put(path, offset=offset, mode=mode, parents=parents, mtime_ns=mtime_ns)
            try:
                await self._fill(outgoing, content)
            finally:
                await outgoing.aclose()
            return await agent.stat(path, follow=True)

    async def watch(self, path: bytes, *, recursive: bool) -> Watch:
        """What changes in a directory (recursive: and below it), or of one file; close what this answers.

        A file is watched where it lies, so that one that is replaced, as editors do, goes on being watched.
        """
        agent = self.agent
        with refusals(path):
            try:
                return Watch(await agent.watch(path, recursive=recursive))
            except AgentRefused as refused:
                if refused.reason != Reason.NOT_A_DIRECTORY:
                    raise
            directory, name = posixpath.split(path.rstrip(b"/"))
            return Watch(await agent.watch(directory or b".", recursive=False), name)

    async def _fill(self, outgoing: Outgoing, content: AsyncIterator[bytes]) -> None:
        again = anyio.current_time() + USED_EVERY
        async for piece in content:
            await outgoing.send(piece)
            if anyio.current_time() >= again:
                self.used()
                again = anyio.current_time() + USED_EVERY
        await outgoing.finish()


class Watch:
    """Changes of a directory or (only) of one file in it, to be closed."""

    def __init__(self, watch: FileWatch, only: bytes | None = None) -> None:
        self._watch = watch
        self._only = only
        self.directories = watch.directories

    async def changes(self) -> AsyncIterator[Change]:
        """What happens, in order, until what is watched is gone."""
        async for found in self._watch.changes():
            for change in found:
                seen = change if self._only is None else _of_one(change, self._only)
                if seen is not None:
                    yield seen

    async def aclose(self) -> None:
        """Watch no more."""
        await self._watch.aclose()


def _of_one(change: Change, name: bytes) -> Change | None:
    """What a change of a directory means for one file in it, which is called by the empty path."""
    if change.kind is ChangeKind.LOST or change.path == b"":
        return change
    if change.path == name:
        kind = ChangeKind.CREATED if change.kind is ChangeKind.MOVED else change.kind
        return Change(kind, b"", change.is_directory)
    return Change(ChangeKind.REMOVED, b"") if change.moved_from == name else None


async def _present(agent: AgentFiles, path: bytes) -> FileStatus | None:
    try:
        return await agent.stat(path, follow=True)
    except AgentRefused as refused:
        if refused.reason != Reason.NOT_FOUND:
            raise
        return None
