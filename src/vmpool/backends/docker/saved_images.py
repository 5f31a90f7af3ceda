"""Reading what the engine writes of an image (`docker save`): its layers, as archives.

The engine compares each layer with its checksum before it answers, and refuses an image of which anything is
missing or changed.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiodocker import Docker
from aiodocker.exceptions import DockerError

from vmpool.backends.docker.errors import is_missing
from vmpool.errors import BackendFailed, SnapshotDamaged
from vmpool.snapshot_file import Layer
from vmpool.tar import Entry, Kind, Reader

PIECE = 1 << 18
SMALL = 4 << 20
"""Bytes of a layer that may be held in memory: the engine writes one that is there twice only once."""
LONGEST = 4 << 20
"""Bytes of the engine's own list of layers."""
_DAMAGE = ("verify", "checksum", "integrity", "no such file", "unexpected eof", "failed to read")


@asynccontextmanager
async def saved(client: Docker, image: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """The engine's archive of an image, in pieces; SnapshotDamaged where it finds it damaged."""
    try:
        async with client.images.export_image(image) as content:
            yield content.iter_chunked(PIECE)
    except DockerError as error:
        if is_missing(error) or not any(word in error.message.lower() for word in _DAMAGE):
            raise
        raise SnapshotDamaged("the engine found a layer that is not what it was") from error


@dataclass(slots=True)
class Contents:
    """Members of the archive: their sizes by name, which are the same, and the layers, the lowest first."""

    sizes: dict[str, int] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()

    def member(self, name: str) -> str:
        """Where the content of this layer is."""
        return self.same.get(name, name)


async def contents_of(pieces: AsyncIterator[bytes]) -> Contents:
    """What is in the archive."""
    found, reader = Contents(), Reader()
    listing: bytearray | None = None
    async for piece in pieces:
        for item in reader.feed(piece):
            if isinstance(item, Entry):
                listing = _note(found, item)
            elif item is not None and listing is not None:
                listing += item
                if len(listing) > LONGEST:
                    raise BackendFailed("the engine's list of layers is too long")
            elif item is None and listing is not None:
                found.order = tuple(_layers(bytes(listing)))
                listing = None
    return found


def _note(found: Contents, entry: Entry) -> bytearray | None:
    """Keep in mind what this member is; where its content is to go, if it is wanted."""
    name = entry.name.decode("utf-8", "replace")
    if entry.kind is Kind.FILE:
        found.sizes[name] = entry.size
        return bytearray() if name == "manifest.json" else None
    if entry.kind in (Kind.LINK, Kind.SECOND_NAME):
        target = entry.target.decode("utf-8", "replace")
        beside = posixpath.dirname(name) if entry.kind is Kind.LINK else ""
        found.same[name] = posixpath.normpath(posixpath.join(beside, target))
    return None


def _layers(listing: bytes) -> list[str]:
    known: Any = json.loads(listing)
    return [str(name) for name in known[0]["Layers"]]


async def layers_of(
    pieces: AsyncIterator[bytes], wanted: dict[str, list[Layer]]
) -> AsyncIterator[Layer | bytes]:
    """The wanted members of the archive, each as the layers it is."""
    reader = Reader()
    present: list[Layer] = []
    held = bytearray()
    async for piece in pieces:
        for item in reader.feed(piece):
            if isinstance(item, Entry):
                present = wanted.get(item.name.decode("utf-8", "replace"), [])
                held.clear()
                if present:
                    yield present[0]
            elif item is not None and present:
                yield item
                if len(present) > 1:
                    held += item
                    if len(held) > SMALL:
                        raise BackendFailed("two large layers of the snapshot are the same; keep it anew")
            elif item is None:
                for layer in present[1:]:
                    yield layer
                    yield bytes(held)
                present = []
