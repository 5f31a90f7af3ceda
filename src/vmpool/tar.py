"""Archives of files as streams of bytes, without any I/O: what the server and the SDK send one another.

Reading understands ustar, pax and GNU's long names; names are bytes throughout.  What is read may be hostile:
a header is bounded before it is kept, and `place` says where an entry may go.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What an archive ends with."""
LONGEST_HEADER: Final = 64 << 10
"""Bytes of a pax header or a long name."""
MOST_DEPTH: Final = 200
"""Names in one another."""


class Kind(Enum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "symbolic link"
    SECOND_NAME = "hard link"
    OTHER = "device or FIFO"


class BadArchive(ValueError):
    """The bytes are no tar archive."""


class Refused(ValueError):
    """An entry that is not taken; says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as the archive has it.  size: bytes of content that follow.  target: where a link leads.

    owner: ids of user and group.  attributes: extended ones.  type, device: of what is of an other kind.
    """

    name: bytes
    kind: Kind
    size: int = 0
    mode: int = 0o644
    mtime_ns: int = 0
    target: bytes = b""
    owner: tuple[int, int] = (1000, 1000)
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    type: bytes = b""
    device: tuple[int, int] = (0, 0)


# --- where an entry may go


def place(name: bytes) -> tuple[bytes, ...]:
    """The names that lead to an entry below the root of what is unpacked, none for the root itself.

    Refused for an absolute name, one with `..`, and what no file can be called.
    """
    if name.startswith(b"/"):
        raise Refused("its name is absolute")
    if b"\0" in name:
        raise Refused("its name holds a NUL byte")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise Refused("its name leads out of the archive")
    if len(parts) > MOST_DEPTH or any(len(part) > 255 for part in parts):
        raise Refused("its name is too long")
    return parts


def check_target(parts: tuple[bytes, ...], target: bytes) -> None:
    """Refused unless a symbolic link at `parts` leads to somewhere below the root."""
    if not target or b"\0" in target or len(target) > 4095:
        raise Refused("it leads nowhere")
    if target.startswith(b"/"):
        raise Refused("it leads out of the archive")
    depth = len(parts) - 1
    for part in target.split(b"/"):
        depth += -1 if part == b".." else part not in (b"", b".")
        if depth < 0:
            raise Refused("it leads out of the archive")


@dataclass(slots=True)
class Placement:
    """Where the entries of one archive go, in their order.

    Nothing goes through a name that the archive itself has made a link: what looks like a place below the
    root might then be anywhere.
    """

    _links: set[tuple[bytes, ...]] = field(default_factory=set)

    def of(self, entry: Entry) -> tuple[bytes, ...]:
        """The names that lead to it; Refused."""
        parts = place(entry.name)
        for end in range(1, len(parts) + 1):
            if parts[:end] in self._links:
                raise Refused("it lies behind a link of the archive")
        match entry.kind:
            case Kind.OTHER:
                raise Refused("it is a device or a FIFO")
            case Kind.LINK:
                check_target(parts, entry.target)
                self._remember(parts)
            case Kind.SECOND_NAME:
                if not place(entry.target):
                    raise Refused("it leads nowhere")
                self.of(Entry(entry.target, Kind.FILE))
        if not parts and entry.kind is not Kind.DIRECTORY:
            raise Refused("it has no name")
        return parts

    def _remember(self, parts: tuple[bytes, ...]) -> None:
        if not parts:
            raise Refused("it has no name")
        if len(self._links) >= 100_000:
            raise Refused("there are too many links")
        self._links.add(parts)


# --- writing


def header(entry: Entry) -> bytes:
    """The bytes before an entry's content."""
    info = tarfile.TarInfo(entry.name.decode("utf-8", "surrogateescape"))
    info.size = entry.size
    info.mode = entry.mode & 0o7777
    info.uname = info.gname = "user"
    info.uid, info.gid = entry.owner
    info.linkname = entry.target.decode("utf-8", "surrogateescape")
    info.type = entry.type if entry.kind is Kind.OTHER else _TYPES[entry.kind]
    info.devmajor, info.devminor = entry.device
    known = {
        _ATTRIBUTE + name: value.decode("utf-8", "surrogateescape")
        for name, value in entry.attributes.items()
    }
    seconds, rest = divmod(entry.mtime_ns, 1_000_000_000)
    info.mtime = max(0, seconds)
    if rest or seconds < 0:
        sign, (whole, part) = ("-", divmod(-entry.mtime_ns, 10**9)) if seconds < 0 else ("", (seconds, rest))
        known["mtime"] = f"{sign}{whole}.{part:09}"
    info.pax_headers = known
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """The bytes after an entry's content."""
    return bytes(-size % BLOCK)


_ATTRIBUTE: Final = "SCHILY.xattr."
_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIRECTORY: tarfile.DIRTYPE,
    Kind.LINK: tarfile.SYMTYPE,
    Kind.SECOND_NAME: tarfile.LNKTYPE,
}


# --- reading


class Reader:
    """Takes an archive in pieces, gives entries and their content as they come, in constant memory.

    `feed` yields an Entry for each, then its content as bytes in pieces, then None at its end.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._left = 0  # of the content
        self._padding = 0  # after it
        self._skip = 0  # of the padding, or of content that means nothing
        self._extension: _Extension | None = None
        self._known: dict[str, bytes] = {}
        self.ended = False

    def feed(self, data: bytes) -> Iterator[Entry | bytes | None]:
        """What these bytes complete.  BadArchive.  To be iterated to its end."""
        view = memoryview(data)
        while view and not self.ended:
            if self._skip:
                count = min(self._skip, len(view))
                self._skip -= count
                view = view[count:]
            elif self._extension is not None:
                view = self._extend(self._extension, view)
            elif self._left:
                count = min(self._left, len(view))
                self._left -= count
                yield bytes(view[:count])
                view = view[count:]
                if not self._left:
                    self._skip = self._padding
                    yield None
            else:
                count = min(BLOCK - len(self._held), len(view))
                self._held += view[:count]
                view = view[count:]
                if len(self._held) == BLOCK:
                    yield from self._begin()

    def close(self) -> None:
        """That was all; BadArchive if the archive is cut short."""
        if self._left or self._skip or self._held or self._extension is not None:
            raise BadArchive("the archive is cut short")

    def _extend(self, extension: _Extension, view: memoryview) -> memoryview:
        count = min(extension.left, len(view))
        extension.data += view[:count]
        extension.left -= count
        if not extension.left:
            self._known |= extension.known()
            self._extension = None
        return view[count:]

    def _begin(self) -> Iterator[Entry | None]:
        block = bytes(self._held)
        self._held.clear()
        if not any(block):
            self.ended = True
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BadArchive(f"a header cannot be read: {error}") from error
        if info.type == tarfile.GNUTYPE_SPARSE:
            raise BadArchive("it has sparse files; make it without them")
        if info.size < 0:
            raise BadArchive("a header announces less than nothing")
        if info.type in _EXTENSIONS:
            self._begin_extension(info)
            return
        if info.type == tarfile.XGLTYPE:
            self._skip = info.size + len(padding(info.size))
            return
        entry = self._entry(info)
        self._known = {}
        yield entry
        self._left, self._padding = entry.size, len(padding(entry.size))
        if not entry.size:
            yield None

    def _begin_extension(self, info: tarfile.TarInfo) -> None:
        if not 0 < info.size <= LONGEST_HEADER:
            raise BadArchive(f"an extended header of {info.size} bytes")
        self._extension = _Extension(info.type, info.size)
        self._extension.left += len(padding(info.size))

    def _entry(self, info: tarfile.TarInfo) -> Entry:
        known = self._known
        kind = _KINDS.get(info.type, Kind.OTHER)
        name = known.get("path", info.name.encode("utf-8", "surrogateescape"))
        if any(key.startswith("GNU.sparse") for key in known):
            kind = Kind.OTHER
        size = _number(known["size"]) if "size" in known else info.size
        if info.type in _WITHOUT_CONTENT:
            size = 0
        return Entry(
            name=name,
            kind=kind,
            size=size,
            mode=info.mode & 0o7777,
            mtime_ns=_time(known["mtime"]) if "mtime" in known else _bounded(int(info.mtime)),
            target=known.get("linkpath", info.linkname.encode("utf-8", "surrogateescape")),
            owner=(
                _number(known["uid"]) if "uid" in known else info.uid,
                _number(known["gid"]) if "gid" in known else info.gid,
            ),
            attributes={
                key.removeprefix(_ATTRIBUTE): value
                for key, value in known.items()
                if key.startswith(_ATTRIBUTE)
            },
            type=info.type if kind is Kind.OTHER else b"",
            device=(info.devmajor, info.devminor) if kind is Kind.OTHER else (0, 0),
        )


_EXTENSIONS = frozenset(
    {tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
)
_WITHOUT_CONTENT = frozenset(
    {
        tarfile.LNKTYPE,
        tarfile.SYMTYPE,
        tarfile.DIRTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
    }
)
"""What has none, whatever size its header names."""
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.LINK,
    tarfile.LNKTYPE: Kind.SECOND_NAME,
}


@dataclass(slots=True)
class _Extension:
    """A header before the header of an entry.  left: bytes that are still to come, padding included."""

    type: bytes
    size: int
    left: int = field(init=False)
    data: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.left = self.size

    def known(self) -> dict[str, bytes]:
        """What it says of the entry."""
        data = bytes(self.data[: self.size])
        if self.type == tarfile.GNUTYPE_LONGNAME:
            return {"path": data.partition(b"\0")[0]}
        if self.type == tarfile.GNUTYPE_LONGLINK:
            return {"linkpath": data.partition(b"\0")[0]}
        return dict(_records(data))


def _records(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Of a pax header: `length key=value` and a newline each."""
    while data:
        digits, space, _ = data[:20].partition(b" ")
        if not space or not digits.isdigit() or not len(digits) + 1 < int(digits) <= len(data):
            raise BadArchive("a pax header cannot be read")
        record, data = data[len(digits) + 1 : int(digits)], data[int(digits) :]
        key, equals, value = record.removesuffix(b"\n").partition(b"=")
        if not equals:
            raise BadArchive("a pax header cannot be read")
        yield key.decode("utf-8", "replace"), value


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise BadArchive("a size is no number")
    return int(text)


def _bounded(seconds: int) -> int:
    """As nanoseconds; 0 for what no file system has."""
    return seconds * 10**9 if abs(seconds) < 9 * 10**9 else 0


def _time(text: bytes) -> int:
    """Nanoseconds from seconds with a decimal point."""
    whole, _, part = text.removeprefix(b"-").partition(b".")
    if not whole.isdigit() or len(whole) > 11 or (part and not part.isdigit()):
        raise BadArchive("a time is no number")
    nanoseconds = _bounded(int(whole)) + int(part[:9].ljust(9, b"0"))
    return -nanoseconds if text.startswith(b"-") else nanoseconds
