"""Snapshots as one file: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vmpool.snapshot_file import (
    LONGEST,
    BadSnapshotFile,
    Layer,
    Manifest,
    Reader,
    Writer,
    length,
)
from vmpool.tar import END, Entry, Kind, header, padding

MANIFEST = Manifest(
    "before", "box", "fake", "python", "base", 1024, 5, "2026-01-01T00:00:00Z", "1.0", (700, 0)
)
LAYERS = {1: b"a" * 700, 2: b""}


def written(manifest: Manifest = MANIFEST, layers: dict[int, bytes] = LAYERS) -> bytes:
    writer = Writer(manifest)
    data = writer.begin()
    for number, content in layers.items():
        data += writer.layer(Layer(number, len(content)))
        data += b"".join(writer.content(content[at : at + 100]) for at in range(0, len(content), 100))
    return data + writer.end()


def read(data: bytes, size: int = 97) -> tuple[Manifest, dict[int, bytes]]:
    reader = Reader()
    manifest, layers, number = None, {}, 0
    for at in range(0, len(data), size):
        for item in reader.feed(data[at : at + size]):
            if isinstance(item, Manifest):
                manifest = item
            elif isinstance(item, Layer):
                number, layers[item.number] = item.number, b""
            else:
                layers[number] += item
    reader.close()
    assert manifest is not None
    return manifest, layers


@pytest.mark.parametrize("size", [1, 512, 1 << 20])
@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_there_and_back(size: int, order: tuple[int, ...]) -> None:
    data = written(layers={number: LAYERS[number] for number in order})
    assert len(data) == length(MANIFEST)
    assert read(data, size) == (MANIFEST, LAYERS)


def test_the_length_of_what_is_too_large_to_try() -> None:
    huge = replace(MANIFEST, layers=(1 << 40,))
    assert length(huge) > 1 << 40


def test_every_cut_is_found() -> None:
    data = written()
    for at in range(0, len(data) - 512, 131):
        with pytest.raises(BadSnapshotFile):
            read(data[:at])


@pytest.mark.parametrize("what", [b'"base"', b"a" * 20, b'"layers/1.tar"'])
def test_a_changed_byte_is_found(what: bytes) -> None:
    data = written()
    at = data.index(what) + 3
    with pytest.raises(BadSnapshotFile):
        read(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def member(name: str, content: bytes) -> bytes:
    return header(Entry(name.encode(), Kind.FILE, len(content))) + content + padding(len(content))


@pytest.mark.parametrize(
    "data",
    [
        member("layers/1.tar", b"x"),
        member("other", b"x"),
        member("vmpool-snapshot.json", b"x" * (LONGEST + 1)),
        member("vmpool-snapshot.json", MANIFEST.dump()) * 2,
        member("vmpool-snapshot.json", MANIFEST.dump()) + member("layers/3.tar", b""),
        member("vmpool-snapshot.json", MANIFEST.dump()) + member("layers/2.tar", b"x"),
        member("vmpool-snapshot.json", MANIFEST.dump()) + member("checksums.json", b"{}") + END,
        member("vmpool-snapshot.json", MANIFEST.dump()) + END,
        header(Entry(b"vmpool-snapshot.json", Kind.LINK, target=b"/etc/passwd")),
        b"[" * 4096,
    ],
)
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(BadSnapshotFile):
        read(data)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"name": 3},
        {"name": "x" * 2000},
        {"disk": -1},
        {"disk": True},
        {"size": 1 << 60},
        {"layers": []},
        {"layers": [1.5]},
        {"layers": [1] * 200},
        {"layers": "1"},
        {"base": None},
    ],
)
def test_a_manifest_that_says_nonsense(change: dict[str, object]) -> None:
    known = {**json.loads(MANIFEST.dump()), **change}
    with pytest.raises(BadSnapshotFile):
        Manifest.load(json.dumps(known).encode())
    for text in (b"", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(BadSnapshotFile):
            Manifest.load(text)


def test_a_writer_is_held_to_its_manifest() -> None:
    writer = Writer(MANIFEST)
    writer.begin()
    writer.layer(Layer(1, 700))
    with pytest.raises(BadSnapshotFile):
        writer.content(b"x" * 701)
    with pytest.raises(BadSnapshotFile):
        writer.end()
