"""Whole outputs: what programs wrote beyond the text that the history keeps of it.

A row of `vm_executions` names the streams that have a file (`output_file`, `error_file`).  The file is
complete before its row says so, and is removed after the row has ceased to; what is cut off in between, the
sweep removes.  Where there is no room, the oldest outputs go: the VM's own, then those of its user's other
VMs.  Another user's stay whatever anybody writes; what then does not fit is dropped.  So that one user cannot
have all the room, each has at most a share of it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from vmpool.domain import VM, Execution, ExecutionState
from vmpool.errors import OutputNotKept
from vmpool.pool.room import Room
from vmpool.pool.settings import PoolSettings
from vmpool.pool.spool import Spool, SpooledOutput, Stream
from vmpool.store import Store
from vmpool.store.executions import Files, WithFile

CHUNK = 256 << 10
"""Bytes read at once for whoever fetches an output."""


@dataclass(slots=True, eq=False)
class StoredOutput:
    """One stream of one execution, open for reading: a file's first `_in_file` bytes, and `_rest` after them.

    complete: the program has ended.  Use as an async context manager, or call `aclose`.
    """

    size: int
    complete: bool
    _rest: bytes = b""
    _in_file: int = 0
    _descriptor: int | None = None

    async def read(self, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to before `stop`, in pieces of at most CHUNK."""
        at = start
        while at < stop:
            piece = await self.some(at, min(CHUNK, stop - at))
            at += len(piece)
            yield piece

    async def some(self, at: int, count: int) -> bytes:
        """At least one and at most `count` of the bytes from `at` on, which must be there."""
        if at >= self._in_file:
            return self._rest[at - self._in_file : at - self._in_file + count]
        assert self._descriptor is not None
        count = min(count, self._in_file - at)
        piece = await anyio.to_thread.run_sync(os.pread, self._descriptor, count, at)
        if not piece:
            raise EOFError(f"the file ends at {at} of {self._in_file} bytes")
        return piece

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Outputs:
    """All outputs on disk of one pool: opens them for writing and reading, and keeps them in bounds."""

    def __init__(self, store: Store, spool: Spool, settings: PoolSettings) -> None:
        self._store = store
        self._spool = spool
        self._vm_limit = settings.keep_output_of_vm
        self._room = Room(settings.keep_output, settings.keep_output_share)
        self._evicting = anyio.Lock()

    async def begin(self) -> None:
        """Make the directory, and count what earlier servers kept."""
        await self._spool.prepare()
        self._room.begin(await self._store.executions.bytes_in_files())

    @property
    def used(self) -> int:
        """Bytes that outputs take on disk."""
        return self._room.used

    # -- of executions in flight

    def spool(self, vm: VM, execution_id: int) -> SpooledOutput:
        """Where the output of an execution goes."""
        limit = (vm.limits.disk << 20) if self._vm_limit is None else self._vm_limit
        return self._spool.open(execution_id, partial(self._make_room, vm, limit))

    def recovered(self, vm: VM, spool: SpooledOutput) -> None:
        """Count what an earlier server had put on disk of an execution that goes on."""
        self._room.add(vm.id, vm.user_id, spool.on_disk)

    async def settled(self, vm: VM, spool: SpooledOutput, keep: Iterable[Stream] = ()) -> None:
        """The row says how it ended: remove all but the streams in `keep`."""
        gone = await spool.discard(list(keep))
        if gone:
            self._room.give(vm.id, gone)

    async def _make_room(self, vm: VM, limit: int, count: int) -> bool:
        """Whether `count` bytes more of this VM's output may go to the disk; its user's older ones may go for
        them."""
        room = self._room
        while not room.take(vm.id, vm.user_id, limit, count):
            whose = vm.user_id if room.fits_vm(vm.id, limit, count) else None
            async with self._evicting:
                if room.fits_vm(vm.id, limit, count) and room.fits_all(vm.user_id, count):
                    continue
                oldest = await self._store.executions.oldest_with_file(vm.id, whose)
                if oldest is None:
                    return False
                await self._store.executions.forget_files(oldest.id)
                await self.forgotten([oldest])
        return True

    # -- of those that have ended

    async def forgotten(self, removed: Iterable[WithFile]) -> None:
        """No row names these files any more."""
        for one in removed:
            await self._spool.remove(one.id)
            self._room.give(one.vm_id, one.size)

    async def sweep(self) -> None:
        """Remove every file that no row names.  Listed before the rows are read: a row precedes its files."""
        names = await self._spool.names()
        known = await self._store.executions.files_of(sorted(set(names.values())))
        named = {name for row in known for name in _names(row)}
        await self._spool.drop([name for name in names if name not in named])

    async def open(self, execution: Execution, stream: Stream, live: SpooledOutput | None) -> StoredOutput:
        """A stream to read, as far as it goes now.  live: where it goes while it is still written.

        Raises OutputNotKept where it was dropped, or lost with its VM.
        """
        outcome = execution.outcome
        if outcome is None:
            if live is None:
                if execution.state is ExecutionState.RUNNING:
                    return StoredOutput(0, complete=False)
                raise OutputNotKept(execution.id, stream)
            path, in_file, held = live.so_far(stream)
            return await self._opened(execution, stream, path, in_file, held, complete=False)
        text, size = (
            (outcome.output, outcome.output_file)
            if stream == "stdout"
            else (outcome.error, outcome.error_file)
        )
        if size is None:
            data = text.encode()
            return StoredOutput(len(data), complete=True, _rest=data)
        if not size:
            raise OutputNotKept(execution.id, stream)
        path = self._spool.path(execution.id, stream)
        return await self._opened(execution, stream, path, size, b"", complete=True)

    async def _opened(
        self, execution: Execution, stream: Stream, path: Path, in_file: int, rest: bytes, *, complete: bool
    ) -> StoredOutput:
        found = StoredOutput(in_file + len(rest), complete, rest, in_file)
        if in_file:
            try:
                found._descriptor = await anyio.to_thread.run_sync(os.open, path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # it ended, or had to go, just now
                raise OutputNotKept(execution.id, stream) from None
        return found


def _names(row: Files) -> list[str]:
    """The files there may be of an execution."""
    streams = [("stdout", row.output), ("stderr", row.error)]
    names = [f"{row.id}.{stream}" for stream, named in streams if named or row.running]
    return names + [f"{row.id}.{stream}-at" for stream, _ in streams if row.running]
