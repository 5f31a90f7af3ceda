"""A snapshot as one file, without any I/O: an archive that says what is in it, and proves that it is whole.

::

    vmpool-snapshot.json     the manifest: what it was taken of, what it stands on, how long each layer is
    layers/1.tar             what the VM changed, as an archive of its own; a backend may have several,
    layers/2.tar             the lowest first by number, in any order in the file
    checksums.json           SHA-256 of each of the above

What is read may be hostile: everything is bounded before it is kept, and a name that is not expected ends it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from vmpool import tar
from vmpool.tar import BadArchive, Entry, Kind, padding

FORMAT: Final = 1
MANIFEST, CHECKSUMS = "vmpool-snapshot.json", "checksums.json"
MEDIA_TYPE: Final = "application/x-tar"
MOST_LAYERS: Final = 127
LONGEST: Final = 64 << 10
"""Bytes of the manifest, and of the checksums."""
LARGEST: Final = 1 << 50
"""Bytes of a layer, as far as this format is concerned; the VM's disk is what bounds it."""
_LAYER = re.compile(r"layers/([1-9][0-9]{0,2})\.tar")
_MODE: Final = 0o644


class BadSnapshotFile(ValueError):
    """The bytes are no snapshot, or not a whole one; says why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """name, vm, created_at: as they were where it was taken.  backend, template, base: what it stands on.

    disk: MB of the VM's disk.  size: bytes the snapshot took where it was kept.  layers: bytes of each, the
    lowest first.  made_by: version of vmpool.
    """

    name: str
    vm: str
    backend: str
    template: str
    base: str
    disk: int
    size: int
    created_at: str
    made_by: str
    layers: tuple[int, ...]

    def dump(self) -> bytes:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1).encode() + b"\n"

    @classmethod
    def load(cls, data: bytes) -> Manifest:
        """The inverse of `dump`; BadSnapshotFile for anything else."""
        known = _object(data, "manifest")
        if known.get("format") != FORMAT:
            raise BadSnapshotFile(f"it has format {known.get('format')!r}; this server reads {FORMAT}")
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = known.get(field.name)
            if field.name == "layers":
                values["layers"] = _sizes(value)
            elif field.type == "int":
                values[field.name] = _count(value, field.name)
            elif isinstance(value, str) and len(value) <= 1000:
                values[field.name] = value
            else:
                raise BadSnapshotFile(f"the manifest's '{field.name}' is no text")
        return cls(**values)


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        known = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadSnapshotFile(f"the {what} cannot be read") from error
    if not isinstance(known, dict):
        raise BadSnapshotFile(f"the {what} is no object")
    return known


def _count(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise BadSnapshotFile(f"the manifest's '{name}' is no size")
    return value


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_LAYERS:
        raise BadSnapshotFile(f"the manifest does not name 1 to {MOST_LAYERS} layers")
    return tuple(_count(size, "layers") for size in value)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer begins.  number: from 1, the lowest."""

    number: int
    size: int


def length(manifest: Manifest) -> int:
    """Bytes of the whole file."""
    inside = [(MANIFEST, len(manifest.dump()))]
    inside += [(_name(number), size) for number, size in enumerate(manifest.layers, 1)]
    sums = _sums({name: "0" * 64 for name, _ in inside})
    inside.append((CHECKSUMS, len(sums)))
    return sum(len(_header(name, size)) + size + len(padding(size)) for name, size in inside) + len(tar.END)


class Writer:
    """Gives the bytes of the file in their order: `begin`, for each layer `layer` and its content, `end`."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._digests: dict[str, str] = {}
        self._left = 0
        self._present: tuple[Layer, hashlib._Hash] | None = None

    def begin(self) -> bytes:
        """What the file starts with."""
        text = self._manifest.dump()
        self._digests[MANIFEST] = hashlib.sha256(text).hexdigest()
        return _header(MANIFEST, len(text)) + text + padding(len(text))

    def layer(self, layer: Layer) -> bytes:
        """What comes before a layer's content."""
        finished = self._finish()
        self._present, self._left = (layer, hashlib.sha256()), layer.size
        return finished + _header(_name(layer.number), layer.size)

    def content(self, piece: bytes) -> bytes:
        """The next piece of the present layer, as it is."""
        if self._present is None or len(piece) > self._left:
            raise BadSnapshotFile("a layer is longer than the manifest says")
        self._present[1].update(piece)
        self._left -= len(piece)
        return piece

    def end(self) -> bytes:
        """What the file ends with."""
        finished = self._finish()
        sums = _sums(self._digests)
        return finished + _header(CHECKSUMS, len(sums)) + sums + padding(len(sums)) + tar.END

    def _finish(self) -> bytes:
        if self._left:
            raise BadSnapshotFile("a layer is shorter than the manifest says")
        if self._present is None:
            return b""
        layer, digest = self._present
        self._digests[_name(layer.number)] = digest.hexdigest()
        self._present = None
        return padding(layer.size)


class Reader:
    """Takes the file in pieces: gives the Manifest, then for each layer a Layer and its content in pieces.

    `close` says whether all of it came.  BadSnapshotFile from both.
    """

    def __init__(self) -> None:
        self._archive = tar.Reader()
        self._name = ""
        self._text = bytearray()
        self._digest = hashlib.sha256()
        self._digests: dict[str, str] = {}
        self._manifest: Manifest | None = None
        self._proved = False

    def feed(self, data: bytes) -> Iterator[Manifest | Layer | bytes]:
        """What these bytes complete; to be iterated to its end."""
        try:
            for item in self._archive.feed(data):
                if isinstance(item, Entry):
                    yield from self._begin(item)
                elif item is None:
                    yield from self._end()
                elif self._name in (MANIFEST, CHECKSUMS):
                    self._text += item
                    self._digest.update(item)
                else:
                    self._digest.update(item)
                    yield item
        except BadArchive as error:
            raise BadSnapshotFile(f"it is no snapshot file: {error}") from error

    def close(self) -> None:
        """That was all."""
        try:
            self._archive.close()
        except BadArchive as error:
            raise BadSnapshotFile("it is cut short") from error
        if not self._proved or not self._archive.ended:
            raise BadSnapshotFile("it is cut short" if self._manifest else "it is no snapshot file")

    def _begin(self, entry: Entry) -> Iterator[Layer]:
        name = entry.name.decode("utf-8", "replace")
        if entry.kind is not Kind.FILE or name in self._digests or self._proved:
            raise BadSnapshotFile(f"'{name[:100]}' does not belong there")
        self._name, self._digest = name, hashlib.sha256()
        self._text.clear()
        match = _LAYER.fullmatch(name)
        if match is not None:
            yield self._layer(int(match[1]), entry.size)
        elif name != (MANIFEST if self._manifest is None else CHECKSUMS):
            raise BadSnapshotFile(
                "it is no snapshot file"
                if self._manifest is None
                else f"'{name[:100]}' does not belong there"
            )
        elif entry.size > LONGEST:
            raise BadSnapshotFile(f"'{name}' has {entry.size} bytes, more than {LONGEST}")

    def _layer(self, number: int, size: int) -> Layer:
        if self._manifest is None:
            raise BadSnapshotFile("it does not begin with its manifest")
        if number > len(self._manifest.layers) or self._manifest.layers[number - 1] != size:
            raise BadSnapshotFile(f"layer {number} is not as the manifest says")
        return Layer(number, size)

    def _end(self) -> Iterator[Manifest]:
        if self._name == CHECKSUMS:
            self._prove()
            return
        self._digests[self._name] = self._digest.hexdigest()
        if self._name == MANIFEST:
            self._manifest = Manifest.load(bytes(self._text))
            yield self._manifest

    def _prove(self) -> None:
        assert self._manifest is not None, "checksums come after a manifest only"
        if len(self._digests) != 1 + len(self._manifest.layers):
            raise BadSnapshotFile("a layer is missing")
        announced = _object(bytes(self._text), "list of checksums")
        if announced != self._digests:
            raise BadSnapshotFile("its content does not have the checksums it names: it is damaged")
        self._proved = True


def _name(number: int) -> str:
    return f"layers/{number}.tar"


def _header(name: str, size: int) -> bytes:
    return tar.header(Entry(name.encode(), Kind.FILE, size, _MODE))


def _sums(digests: dict[str, str]) -> bytes:
    return json.dumps(dict(sorted(digests.items())), indent=1).encode() + b"\n"
