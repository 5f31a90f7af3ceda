"""One snapshot at a time: what is known of it, and the way out and in as one file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlencode

from vmpool.client import local_files
from vmpool.client._async.connection import AsyncConnection
from vmpool.client._async.files import Progress, unheard
from vmpool.client._async.waiting import apart
from vmpool.client.errors import UnexpectedAnswer
from vmpool.client.local_files import PIECE_BYTES
from vmpool.client.models import Snapshot
from vmpool.client.wire import MACHINE, Call, value, vm_path
from vmpool.snapshot_file import MEDIA_TYPE, BadSnapshotFile, Reader


class AsyncSnapshots:
    """`client.snapshots`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, vm: int | str, snapshot: Snapshot | int) -> Snapshot:
        """What is known of it now."""
        return await self._connection.one(Snapshot, Call("GET", _path(vm, snapshot)))

    async def export_to(
        self, vm: int | str, snapshot: Snapshot | int, local: str | Path, *, progress: Progress = unheard
    ) -> Path:
        """Write a snapshot to a file here, readable by nobody else, which is there whole or not at all.

        local: the file, which is replaced; or a directory.  Its checksums are looked at as it comes
        (UnexpectedAnswer where they are wrong).  SnapshotDamaged, SnapshotTooLarge.
        """
        target = Path(local)
        if await apart(target.is_dir):
            target /= f"snapshot-{_number(snapshot)}.tar"
        beside = target.with_name(f".{target.name}.{token_hex(4)}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        file = await apart(partial(os.open, beside, flags, 0o600))
        try:
            try:
                await self._export(vm, snapshot, file, progress)
                await apart(partial(os.fsync, file))
            finally:
                os.close(file)
            await apart(partial(beside.rename, target))
        finally:
            await apart(partial(beside.unlink, missing_ok=True))
        return target

    async def _export(self, vm: int | str, snapshot: Snapshot | int, file: int, progress: Progress) -> None:
        reader, done = Reader(), 0
        call = Call("GET", f"{_path(vm, snapshot)}/export", wait=MACHINE)
        async with self._connection.stream(call, MEDIA_TYPE) as answer:
            length = answer.headers.get("content-length", "")
            total = int(length) if length.isdecimal() else None
            async for piece in answer.aiter_bytes(PIECE_BYTES):
                await apart(partial(_write, file, piece, reader))
                done += len(piece)
                progress(done, total)
        _prove(reader)

    async def import_from(
        self, vm: int | str, local: str | Path, name: str | None = None, *, progress: Progress = unheard
    ) -> Snapshot:
        """Keep what was exported as a snapshot of this VM, whose files stay as they are.

        name: default: the one it had.  SnapshotFileRefused, SnapshotMismatch, SnapshotTooLarge, after which
        nothing is kept.
        """
        source = Path(local)
        size = (await apart(source.stat)).st_size
        path = vm_path(vm, "snapshots", "import") + (f"?{urlencode({'name': name})}" if name else "")
        call = Call("POST", path, wait=MACHINE)
        answer = await self._connection.upload(call, _pieces(source, size, progress), MEDIA_TYPE, size)
        return value(Snapshot, answer.content)


def _number(snapshot: Snapshot | int) -> int:
    return snapshot if isinstance(snapshot, int) else snapshot.id


def _path(vm: int | str, snapshot: Snapshot | int) -> str:
    return vm_path(vm, "snapshots", str(_number(snapshot)))


def _write(file: int, piece: bytes, reader: Reader) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(file, view) :]
    try:
        for _ in reader.feed(piece):
            pass
    except BadSnapshotFile as error:
        raise UnexpectedAnswer(f"what came is no whole snapshot: {error}") from error


def _prove(reader: Reader) -> None:
    try:
        reader.close()
    except BadSnapshotFile as error:
        raise UnexpectedAnswer(f"what came is no whole snapshot: {error}") from error


async def _pieces(source: Path, size: int, progress: Progress) -> AsyncIterator[bytes]:
    file, done = await apart(partial(local_files.opened, source)), 0
    try:
        while piece := await apart(partial(file.read, min(PIECE_BYTES, size - done))):
            done += len(piece)
            yield piece
            progress(done, size)
    finally:
        file.close()
