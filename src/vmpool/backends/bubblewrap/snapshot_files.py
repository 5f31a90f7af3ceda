"""Snapshots that leave this host as an archive of the disk's files, and come to it as one.

An archive is unpacked into an empty disk of this host's own making: a file system that somebody else made is
never mounted.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from io import FileIO
from pathlib import Path
from tempfile import mkdtemp

import anyio
from anyio.abc import ByteReceiveStream, Process

from vmpool.backends import disks, kernel, loops
from vmpool.backends.base import MachineSpec, SnapshotContent, StoredSnapshot
from vmpool.backends.bubblewrap.layout import Record, read_record, write_record
from vmpool.backends.bubblewrap.machines import Machines
from vmpool.backends.bubblewrap.seals import tree_program
from vmpool.backends.bubblewrap.snapshots import RECORD, SIZE, directory_of, stored_in
from vmpool.backends.bubblewrap.stillness import write_out
from vmpool.backends.trees.__main__ import REFUSED, TOO_LARGE
from vmpool.errors import (
    BackendFailed,
    SnapshotDamaged,
    SnapshotFileRefused,
    SnapshotMismatch,
    SnapshotNotFound,
    SnapshotTooLarge,
)
from vmpool.snapshot_file import Layer

PIECE = 1 << 18
HEADROOM = 2
"""An archive of so many disks' size at most: what is small takes more room in it than on the disk."""
WRITE: dict[str, str | None] = {"noinit_itable": None, "discard": None, "nobarrier": None}
READ: dict[str, str | None] = {"ro": None}


@contextmanager
def opened_disk(directory: Path, record: Record, *, write: bool) -> Iterator[int]:
    """The top of a disk that no VM has, as a descriptor.  Blocks."""
    if not record.image:
        top = os.open(directory / "disk", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    else:
        image = directory / "disk.ext4"
        loop, device = loops.attach(image) if write else loops.attach_read_only(image)
        try:
            mount = kernel.mount_unseen(device, "ext4", WRITE if write else READ)
        finally:
            os.close(loop)
        try:
            top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        finally:
            os.close(mount)
    try:
        yield top
    finally:
        os.close(top)


@asynccontextmanager
async def exported(machines: Machines, reference: str) -> AsyncIterator[SnapshotContent]:
    """See `SupportsSnapshotFiles`: one layer, the disk."""
    directory = directory_of(machines, reference)
    record = read_record(directory / RECORD)
    if record is None:
        raise SnapshotNotFound(reference)
    stack = opened_disk(directory, record, write=False)
    try:
        top = await anyio.to_thread.run_sync(stack.__enter__)
    except OSError as error:
        raise SnapshotDamaged("its disk cannot be read") from error
    try:
        async with _ended_with(await _started(machines, top, subprocess.DEVNULL, "pack")) as process:
            assert process.stdout is not None
            size, rest = await _announced(process, process.stdout)
            room = HEADROOM * max(record.disk * disks.MB, int((directory / SIZE).read_text(encoding="ascii")))
            if size > room:
                raise SnapshotTooLarge(size, room)
            pieces = _packed(process, process.stdout, size, rest)
            yield SnapshotContent(record.spec.template, record.base, record.disk, (size,), pieces)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(stack.__exit__, None, None, None)


async def _announced(process: Process, out: ByteReceiveStream) -> tuple[int, bytes]:
    """The archive's length, which comes first, and what has come after it."""
    begun = b""
    with suppress(anyio.EndOfStream):
        while b"\n" not in begun:
            begun += await out.receive(PIECE)
    line, newline, rest = begun.partition(b"\n")
    if not newline:
        raise await _failure(process)
    return int(line), rest


async def _packed(
    process: Process, out: ByteReceiveStream, size: int, piece: bytes
) -> AsyncIterator[Layer | bytes]:
    yield Layer(1, size)
    while True:
        if piece:
            yield piece
        try:
            piece = await out.receive(PIECE)
        except anyio.EndOfStream:
            break
    if await process.wait() != 0:
        raise await _failure(process)


async def _failure(process: Process) -> BackendFailed | SnapshotDamaged:
    said = await _last_line(process)
    if process.returncode == REFUSED:
        return BackendFailed(f"the snapshot cannot be exported: {said}")
    return SnapshotDamaged(f"its files cannot be read ({said})")


async def _last_line(process: Process) -> str:
    """Of what a process that ends has to say."""
    assert process.stderr is not None
    said = b""
    with suppress(anyio.EndOfStream):
        while True:
            said = (said + await process.stderr.receive())[-PIECE:]
    await process.wait()
    lines = said.decode(errors="replace").strip().splitlines() or ["no message"]
    return lines[-1][:500]


async def _started(machines: Machines, top: int, stdin: int, verb: str, *more: str) -> Process:
    """`vmpool.backends.trees` over a directory."""
    words = tree_program(machines.host.programs, verb, str(top), *more)
    return await anyio.open_process(words, stdin=stdin, pass_fds=(top,))


@asynccontextmanager
async def _ended_with(process: Process) -> AsyncIterator[Process]:
    """It ends with the block."""
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.aclose()


async def import_snapshot(
    machines: Machines, reference: str, spec: MachineSpec, base: str, pieces: AsyncIterator[Layer | bytes]
) -> StoredSnapshot:
    """See `SupportsSnapshotFiles`."""
    directory = directory_of(machines, reference)
    if base != machines.base:
        raise SnapshotMismatch(
            "the snapshot was taken on another system release, toolchain or kind of disk "
            f"({base}) than this host has now ({machines.base})",
            snapshot_base=base,
            host_base=machines.base,
        )
    building, record = await anyio.to_thread.run_sync(_prepare, machines, spec)
    try:
        stack = opened_disk(building, record, write=True)
        top = await anyio.to_thread.run_sync(stack.__enter__)
        try:
            await _unpacked(machines, top, record, pieces)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(stack.__exit__, None, None, None)
        return await anyio.to_thread.run_sync(_finish, building, record, directory)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_remove, machines, building)


def _prepare(machines: Machines, spec: MachineSpec) -> tuple[Path, Record]:
    record = machines.record_for(spec)
    building = Path(mkdtemp(prefix=".new-", dir=machines.layout.snapshots))
    if record.image:
        empty = disks.empty_image(machines.layout.images, record.disk)
        disks.copy_sparse(empty, building / "disk.ext4")
    else:
        (building / "disk").mkdir()
    return building, record


async def _unpacked(
    machines: Machines, top: int, record: Record, pieces: AsyncIterator[Layer | bytes]
) -> None:
    room = HEADROOM * record.disk * disks.MB
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as pipe:  # noqa: ASYNC230, PTH123 - a pipe is opened at once
        try:
            process = await _started(machines, top, reading, "unpack", str(room))
        finally:
            os.close(reading)
        async with _ended_with(process):
            async for piece in pieces:
                if isinstance(piece, Layer):
                    if piece.number != 1:
                        raise SnapshotFileRefused("it has several layers, as only the docker backend makes")
                elif not await anyio.to_thread.run_sync(_hand_on, pipe, piece):
                    break
            pipe.close()
            said = await _last_line(process)
    match process.returncode:
        case 0:
            return
        case status if status == REFUSED:
            raise SnapshotFileRefused(said)
        case status if status == TOO_LARGE:
            raise SnapshotTooLarge(room, record.disk * disks.MB)
    raise BackendFailed(f"the snapshot's files cannot be made: {said}")


def _hand_on(pipe: FileIO, piece: bytes) -> bool:
    """Whether it was read; else the program has ended, and its exit status says why."""
    view = memoryview(piece)
    try:
        while view:
            view = view[pipe.write(view) :]
    except BrokenPipeError:
        return False
    return True


def _finish(building: Path, record: Record, directory: Path) -> StoredSnapshot:
    disks.wait_until_released(building / "disk.ext4")
    write_out(building)
    (building / SIZE).write_text(str(disks.tree_use(building)), encoding="ascii")
    write_record(building / RECORD, record)
    building.rename(directory)
    stored = stored_in(directory)
    if stored is None:
        raise BackendFailed("the snapshot was removed while it came in")
    return stored


def _remove(machines: Machines, building: Path) -> None:
    if building.exists():
        disks.wait_until_released(building / "disk.ext4")
    machines.remove_tree(building)
