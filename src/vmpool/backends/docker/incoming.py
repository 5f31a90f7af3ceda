"""Layers that come from somewhere else: looked through, written anew, and handed to the engine as an image.

Nothing that was sent reaches the engine as it came.  The layers the image stands on are the engine's own and
are not sent along; it checks that the whole has the checksums it is said to have.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from anyio import to_thread

from vmpool.backends.docker.spec import AGENT_DIR, SOCKET_DIR
from vmpool.backends.trees.vetting import Vetting
from vmpool.errors import SnapshotFileRefused
from vmpool.snapshot_file import Layer
from vmpool.tar import END, BadArchive, Entry, Kind, Reader, Refused, header, padding

PIECE = 1 << 18
RESERVED = tuple(
    tuple(part.encode() for part in path.strip("/").split("/"))
    for path in (AGENT_DIR, SOCKET_DIR, "/dev", "/proc", "/sys")
)
"""Where the engine and this backend put their own."""
_MARK, _OPAQUE = b".wh..wh.", b".wh..wh..opq"


@dataclass(slots=True)
class IncomingLayer:
    """One layer on its way into a file that has no name.  room: bytes it may take."""

    file: IO[bytes]
    room: int
    _reader: Reader = field(default_factory=Reader)
    _digest: Any = field(default_factory=sha256)
    _entry: Entry | None = None
    _vetting: Vetting = field(init=False)
    size: int = 0

    def __post_init__(self) -> None:
        self._vetting = Vetting(self.room, RESERVED, overlay=False)

    @property
    def diff_id(self) -> str:
        """What the engine calls it."""
        return f"sha256:{self._digest.hexdigest()}"

    def feed(self, piece: bytes) -> None:
        """Take the next piece; SnapshotFileRefused, TooLarge.  Blocks."""
        try:
            for item in self._reader.feed(piece):
                if isinstance(item, Entry):
                    self._begin(item)
                elif item is not None:
                    self._write(item)
                elif self._entry is not None:
                    self._write(padding(self._entry.size))
        except BadArchive as error:
            raise SnapshotFileRefused(f"a layer is no archive: {error}") from error

    def close(self) -> None:
        """That was all of it."""
        try:
            self._reader.close()
        except BadArchive as error:
            raise SnapshotFileRefused(f"a layer is no archive: {error}") from error
        if not self._reader.ended:
            raise SnapshotFileRefused("a layer is cut short")
        self._write(END)

    def _begin(self, entry: Entry) -> None:
        try:
            entry = self._vetting.closed(entry)
            parts = self._vetting.check(entry)
            last = parts[-1] if parts else b""
            if last.startswith(_MARK) and (last != _OPAQUE or entry.kind is not Kind.FILE):
                raise Refused("its name means something else to the engine")
        except Refused as error:
            name = entry.name[:200].decode("utf-8", "replace")
            raise SnapshotFileRefused(f"'{name}': {error}") from error
        self._entry = entry
        self._write(header(entry))

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self._digest.update(data)
        self.size += len(data)


async def take_layers(pieces: AsyncIterator[Layer | bytes], open_file: Any, room: int) -> list[IncomingLayer]:
    """All of them, the lowest first.  open_file: makes a file without a name."""
    layers: dict[int, IncomingLayer] = {}
    present: IncomingLayer | None = None
    async for piece in pieces:
        if isinstance(piece, Layer):
            if present is not None:
                await to_thread.run_sync(present.close)
            left = room - sum(layer.size for layer in layers.values())
            present = layers[piece.number] = IncomingLayer(await to_thread.run_sync(open_file), left)
        elif present is not None:
            await to_thread.run_sync(present.feed, piece)
    if present is not None:
        await to_thread.run_sync(present.close)
    return [layers[number] for number in sorted(layers)]


def image_config(base: Mapping[str, Any], labels: Mapping[str, str], layers: list[IncomingLayer]) -> bytes:
    """The engine's record of an image that stands on another.  base: what the engine says of that one."""
    stamp = datetime.now(UTC).isoformat()
    diff_ids = [*base["RootFS"]["Layers"], *(layer.diff_id for layer in layers)]
    config = {
        "architecture": base["Architecture"],
        "os": base["Os"],
        "created": stamp,
        "config": {**(base.get("Config") or {}), "Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": stamp, "created_by": "vmpool"}] * len(diff_ids),
    }
    return json.dumps(config).encode()


async def image_archive(
    name: str, config: bytes, below: int, layers: list[IncomingLayer]
) -> AsyncIterator[bytes]:
    """What `docker load` reads.  below: how many layers the engine has already."""
    config_name = f"{sha256(config).hexdigest()}.json"
    names = [f"{number}/layer.tar" for number in range(below + len(layers))]
    listing = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": names}]).encode()
    for number, layer in enumerate(layers, below):
        yield header(Entry(names[number].encode(), Kind.FILE, layer.size))
        layer.file.seek(0)
        while piece := await to_thread.run_sync(layer.file.read, PIECE):
            yield piece
        yield padding(layer.size)
    for member, text in ((config_name, config), ("manifest.json", listing)):
        yield header(Entry(member.encode(), Kind.FILE, len(text))) + text + padding(len(text))
    yield END


def nameless(directory: Path) -> IO[bytes]:
    """A file that goes with its descriptor."""
    descriptor = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "w+b")
