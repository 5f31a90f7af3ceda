"""Snapshots that leave as one file and come as one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import anyio

from vmpool import __version__
from vmpool.backends.base import SnapshotContent, SupportsSnapshotFiles
from vmpool.domain import VM, Snapshot
from vmpool.errors import Conflict, SnapshotFileRefused, Unsupported, VMPoolError
from vmpool.pool.context import Context
from vmpool.pool.requests import machine_spec
from vmpool.pool.snapshots import MAX_NAME, Snapshots, check_snapshot_name
from vmpool.snapshot_file import BadSnapshotFile, Layer, Manifest, Reader, Writer, length


@dataclass(frozen=True, slots=True)
class Export:
    """A file on its way out.  length: its bytes.  pieces: them.  Closing it is the reader's to do."""

    manifest: Manifest
    length: int
    pieces: AsyncIterator[bytes]
    _stack: AsyncExitStack

    async def aclose(self) -> None:
        """Let go of what it is read from."""
        await self._stack.aclose()


class SnapshotFiles:
    """Export and import."""

    def __init__(self, context: Context, snapshots: Snapshots) -> None:
        self._context = context
        self._snapshots = snapshots

    def _powers(self) -> SupportsSnapshotFiles:
        backend = self._context.backend
        if not isinstance(backend, SupportsSnapshotFiles):
            raise Unsupported("snapshot files", backend.name)
        return backend

    async def export(self, vm: VM, snapshot: Snapshot) -> Export:
        """The snapshot as a file, proved whole before its first byte is there."""
        backend = self._powers()
        await self._snapshots.verify(snapshot)
        async with AsyncExitStack() as stack:
            content = await stack.enter_async_context(backend.export_snapshot(snapshot.reference))
            manifest = Manifest(
                name=snapshot.name,
                vm=vm.name,
                backend=vm.backend,
                template=content.template,
                base=content.base,
                disk=content.disk,
                size=snapshot.size,
                created_at=f"{snapshot.created_at.isoformat()}Z",
                made_by=__version__,
                layers=content.layers,
            )
            pieces = _written(manifest, content)
            stack.push_async_callback(pieces.aclose)
            return Export(manifest, length(manifest), pieces, stack.pop_all())

    async def take_in(self, vm: VM, name: str | None, content: AsyncIterator[bytes]) -> Snapshot:
        """Keep what an export gave as a snapshot of this VM.  name: None for the one it has there."""
        backend = self._powers()
        check_snapshot_name(name)
        incoming = _Incoming(content)
        manifest = await incoming.manifest()
        if (manifest.backend, manifest.template) != (vm.backend, vm.template):
            raise SnapshotFileRefused(
                f"it is of a '{manifest.template}' VM of the {manifest.backend} backend; "
                f"VM {vm.id} is of '{vm.template}' and {vm.backend}"
            )
        snapshot = await self._begin(vm, name, manifest)
        rows = self._context.store.snapshots
        try:
            spec = machine_spec(vm)
            stored = await backend.import_snapshot(snapshot.reference, spec, manifest.base, incoming.pieces())
            seal = await self._snapshots.seal(snapshot)
            snapshot = await rows.complete(snapshot.id, base=stored.base, size=stored.size, seal=seal)
        except BaseException:
            with anyio.move_on_after(self._context.settings.cleanup_timeout, shield=True):
                await self._snapshots.give_up(snapshot)
            raise
        finally:
            self._snapshots.incoming.discard(snapshot.id)
        self._context.journal.snapshot(snapshot, imported=True)
        return snapshot

    async def _begin(self, vm: VM, name: str | None, manifest: Manifest) -> Snapshot:
        """Its row, in a moment in which nobody takes it for one that a dead server left."""
        rows = self._context.store.snapshots
        async with self._context.locks.holding(vm.id):
            try:
                snapshot = await rows.begin(vm, name or _usable(manifest.name), foreign=True)
            except Conflict:
                if name is not None:
                    raise
                snapshot = await rows.begin(vm, None, foreign=True)
            self._snapshots.incoming.add(snapshot.id)
            return snapshot


def _usable(name: str) -> str | None:
    """The name it had, if it can be one here."""
    try:
        check_snapshot_name(name)
    except VMPoolError:
        return None
    return name[:MAX_NAME]


async def _written(manifest: Manifest, content: SnapshotContent) -> AsyncGenerator[bytes, None]:
    writer = Writer(manifest)
    yield writer.begin()
    async for piece in content.pieces:
        yield writer.layer(piece) if isinstance(piece, Layer) else writer.content(piece)
    yield writer.end()


class _Incoming:
    """A file as it comes in."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self._reader = Reader()
        self._begun: list[Layer | bytes] = []

    async def manifest(self) -> Manifest:
        """What it begins with; SnapshotFileRefused."""
        found: Manifest | None = None
        try:
            async for data in self._content:
                for item in self._reader.feed(data):
                    if isinstance(item, Manifest):
                        found = item
                    else:
                        self._begun.append(item)
                if found is not None:
                    return found
            self._reader.close()
        except BadSnapshotFile as error:
            raise SnapshotFileRefused(str(error)) from error
        raise SnapshotFileRefused("it is no snapshot file")

    async def pieces(self) -> AsyncIterator[Layer | bytes]:
        """Its layers; ends only if all of it came and has its checksums, else SnapshotFileRefused."""
        for begun in self._begun:
            yield begun
        self._begun.clear()
        try:
            async for data in self._content:
                for item in self._reader.feed(data):
                    if not isinstance(item, Manifest):
                        yield item
            self._reader.close()
        except BadSnapshotFile as error:
            raise SnapshotFileRefused(str(error)) from error
