"""The fake machine's files as the layer of a snapshot file, and out of one."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator

from vmpool.backends.base import SnapshotContent
from vmpool.backends.fake.files import File, Files
from vmpool.backends.trees.vetting import TooLarge, Vetting
from vmpool.errors import SnapshotFileRefused, SnapshotTooLarge
from vmpool.snapshot_file import Layer
from vmpool.tar import END, BadArchive, Entry, Kind, Reader, Refused, header, padding

HEADROOM = 2


def seal(files: Files) -> str:
    """A checksum of all of them."""
    return hashlib.sha256(b"".join(_archive(files))).hexdigest()


def exported(files: Files, base: str) -> SnapshotContent:
    """One layer."""
    pieces = list(_archive(files))
    size = sum(map(len, pieces))

    async def content() -> AsyncIterator[Layer | bytes]:
        yield Layer(1, size)
        for piece in pieces:
            yield piece

    return SnapshotContent(base, base, 0, (size,), content())


def _archive(files: Files) -> Iterator[bytes]:
    for name in sorted(files.directories - {"/"}):
        yield header(Entry(f"{name[1:]}/".encode(), Kind.DIRECTORY, 0, 0o755))
    for name, file in sorted(files.files.items()):
        entry = Entry(name[1:].encode(), Kind.FILE, len(file.data), file.mode & 0o1777, file.mtime_ns)
        yield header(entry)
        yield file.data + padding(len(file.data))
    yield END


async def imported(pieces: AsyncIterator[Layer | bytes], room: int) -> Files:
    """Files from what comes; SnapshotFileRefused, SnapshotTooLarge."""
    reader, vetting, files = Reader(), Vetting(HEADROOM * room), Files()
    present: Entry | None = None
    data = bytearray()
    try:
        async for piece in pieces:
            if isinstance(piece, Layer):
                if piece.number != 1:
                    raise SnapshotFileRefused("it has several layers")
                continue
            for item in reader.feed(piece):
                if isinstance(item, Entry):
                    present = item
                    data.clear()
                    _directory(vetting, files, item)
                elif item is not None:
                    data += item
                elif present is not None and present.kind is Kind.FILE:
                    path = "/" + "/".join(part.decode() for part in _parts(present))
                    files.files[path] = File(bytes(data), present.mode, present.mtime_ns)
        reader.close()
    except (Refused, BadArchive) as error:
        name = "" if present is None else f"'{present.name[:200].decode('utf-8', 'replace')}': "
        raise SnapshotFileRefused(f"{name}{error}") from error
    except TooLarge:
        raise SnapshotTooLarge(HEADROOM * room, room) from None
    return files


def _parts(entry: Entry) -> tuple[bytes, ...]:
    return tuple(part for part in entry.name.split(b"/") if part not in (b"", b"."))


def _directory(vetting: Vetting, files: Files, entry: Entry) -> None:
    parts = vetting.check(entry)
    path = "/" + "/".join(part.decode("utf-8", "surrogateescape") for part in parts)
    if entry.kind is Kind.DIRECTORY:
        files.directories.add(path)
    elif entry.kind is not Kind.FILE:
        raise Refused("a fake machine has files and directories only")
