"""What must hold for any bytes that are sent as a snapshot, or as a layer of one."""

from __future__ import annotations

import tarfile

from fuzz.cutting import pieces
from vmpool.backends.trees.vetting import TooLarge, Vetting
from vmpool.snapshot_file import LONGEST, BadSnapshotFile, Layer, Manifest, Reader, Writer, length
from vmpool.tar import BadArchive, Entry, Kind, Refused, header
from vmpool.tar import Reader as LayerReader

ROOM = 1 << 20


def snapshot_file(data: bytes) -> None:
    """The same parts however it is cut; what is accepted can be written again, and is as long as said."""
    whole, cut = pieces(data)
    at_once, in_pieces = _parts([whole]), _parts(cut)
    assert at_once == in_pieces
    if at_once is None:
        return
    manifest, layers = at_once
    assert len(manifest.dump()) <= 8 * LONGEST
    assert tuple(len(layers[number]) for number in sorted(layers)) == manifest.layers
    writer = Writer(manifest)
    text = writer.begin()
    for number in sorted(layers):
        text += writer.layer(Layer(number, len(layers[number]))) + writer.content(layers[number])
    text += writer.end()
    assert len(text) == length(manifest)
    assert _parts([text]) == at_once


def _parts(chunks: list[bytes]) -> tuple[Manifest, dict[int, bytes]] | None:
    reader = Reader()
    manifest: Manifest | None = None
    layers: dict[int, bytes] = {}
    number = 0
    try:
        for chunk in chunks:
            for item in reader.feed(chunk):
                if isinstance(item, Manifest):
                    assert manifest is None
                    manifest = item
                elif isinstance(item, Layer):
                    assert manifest is not None and item.number not in layers
                    number = item.number
                    layers[number] = b""
                else:
                    layers[number] += item
        reader.close()
    except BadSnapshotFile:
        return None
    assert manifest is not None
    return manifest, layers


def snapshot_layer(data: bytes) -> None:
    """The same verdict however it is cut; what passes lies below the root, and is no device."""
    whole, cut = pieces(data)
    at_once = _entries([whole])
    assert at_once == _entries(cut)
    for entry in at_once:
        parts = [part for part in entry.name.split(b"/") if part not in (b"", b".")]
        assert not entry.name.startswith(b"/") and b".." not in parts and b"\0" not in entry.name
        assert entry.kind is not Kind.OTHER or (
            entry.type == tarfile.FIFOTYPE or (entry.type == tarfile.CHRTYPE and entry.device == (0, 0))
        )
        assert entry.kind is not Kind.FILE or not entry.mode & 0o6000 or entry.owner == (1000, 1000)
        assert not any(name.startswith(("security.", "system.")) for name in entry.attributes)
        header(entry)


def _entries(chunks: list[bytes]) -> list[Entry]:
    reader, vetting, found = LayerReader(), Vetting(ROOM), []
    try:
        for chunk in chunks:
            for item in reader.feed(chunk):
                if isinstance(item, Entry):
                    vetting.check(item)
                    found.append(item)
    except (BadArchive, Refused, TooLarge):
        pass  # what passed before counts
    return found
