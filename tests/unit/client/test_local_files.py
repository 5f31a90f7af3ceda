"""This side of a copy: what is packed, what a hostile VM's archive can do here, and what a sync has to do."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vmpool import tar
from vmpool.client import local_files
from vmpool.client.local_files import Known, Plan
from vmpool.client.unpacker import Unpacker
from vmpool.tar import BadArchive, Entry, Kind


@pytest.fixture
def target(tmp_path: Path) -> Path:
    made = tmp_path / "target"
    made.mkdir()
    return made


def unpack(target: Path, data: bytes) -> Unpacker:
    unpacker = Unpacker(target)
    try:
        for begin in range(0, len(data), 1000):
            unpacker.feed(data[begin : begin + 1000])
        unpacker.finish()
    finally:
        unpacker.close()
    return unpacker


def archive(*entries: Entry) -> bytes:
    """Of files that hold `x`."""
    parts = []
    for entry in entries:
        size = 1 if entry.kind is Kind.FILE else 0
        sized = Entry(entry.name, entry.kind, size, entry.mode, entry.mtime_ns, entry.target)
        parts.append(tar.header(sized) + b"x" * size + tar.padding(size))
    return b"".join(parts) + tar.END


def file(name: bytes) -> Entry:
    return Entry(name, Kind.FILE)


def link(name: bytes, to: bytes) -> Entry:
    return Entry(name, Kind.LINK, target=to)


def test_a_directory_there_and_back(tmp_path: Path, target: Path) -> None:
    source = tmp_path / "source"
    (source / "d" / "empty").mkdir(parents=True)
    big = os.urandom(3_000_000)
    (source / "d" / "big").write_bytes(big)
    odd = os.fsdecode(b"\xff\nodd")
    (source / odd).write_text("odd")
    (source / odd).chmod(0o750)
    os.utime(source / odd, ns=(0, 10**18 + 3))
    (source / "d" / "link").symlink_to("../" + odd)
    os.mkfifo(source / "fifo")
    (source / "d").chmod(0o555)
    try:
        unpacker = unpack(target, b"".join(local_files.pack(source)))
    finally:
        (source / "d").chmod(0o755)
    assert not unpacker.refused
    assert (target / "d" / "big").read_bytes() == big
    status = (target / odd).stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o750, 10**18 + 3)
    assert (target / "d" / "link").read_text() == "odd"
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o555
    assert sorted(path.name for path in target.iterdir()) == ["d", odd]
    (target / "d").chmod(0o755)


@pytest.mark.parametrize(
    "entries",
    [
        [file(b"/outside/f")],
        [file(b"../outside/f")],
        [link(b"l", b"../outside"), file(b"l/f")],
        [link(b"l", b"/"), file(b"l/tmp/f")],
        [link(b"inside", b"."), link(b"inside/l", b"../../outside"), file(b"inside/l/f")],
        [Entry(b"n", Kind.SECOND_NAME, target=b"../outside/kept")],
        [file(b"old-link/f")],
        [Entry(b"old-link/d/", Kind.DIRECTORY), file(b"old-link/d/f")],
        [link(b"old-link/l", b"x")],
    ],
)
def test_nothing_leaves_the_directory(tmp_path: Path, target: Path, entries: list[Entry]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (target / "old-link").symlink_to(outside)
    unpacker = unpack(target, archive(*entries))
    assert unpacker.refused
    assert [path.name for path in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"


def test_a_link_in_the_place_of_a_file_is_replaced_not_written_through(tmp_path: Path, target: Path) -> None:
    (tmp_path / "outside").write_text("kept")
    (target / "f").symlink_to(tmp_path / "outside")
    os.mkfifo(target / "fifo")
    unpack(target, archive(file(b"f"), file(b"fifo")))
    assert (tmp_path / "outside").read_text() == "kept"
    assert (target / "f").read_text() == (target / "fifo").read_text() == "x"


def test_no_device_and_no_strange_mode_comes_out(target: Path) -> None:
    unpacker = unpack(
        target, archive(Entry(b"s", Kind.FILE, mode=0o6755), Entry(b"d/", Kind.DIRECTORY, mode=0o1777))
    )
    assert not unpacker.refused
    assert stat.S_IMODE((target / "s").stat().st_mode) == 0o755
    assert stat.S_IMODE((target / "d").stat().st_mode) == 0o777


def test_an_archive_that_is_cut_short_is_told(target: Path) -> None:
    whole = archive(file(b"a"), file(b"b"))
    for end in (100, 512 + 1, 1024, len(whole) - len(tar.END)):
        with pytest.raises(BadArchive):
            unpack(target, whole[:end])


FILE, DIRECTORY = Known("file", 3, 7), Known("directory")


@pytest.mark.parametrize(
    ("here", "there", "delete", "send", "remove"),
    [
        ({b"a": FILE}, {}, False, {b"a"}, ()),
        ({b"a": FILE}, {b"a": FILE}, True, set(), ()),
        ({b"a": FILE}, {b"a": Known("file", 4, 7)}, False, {b"a"}, ()),
        ({b"a": FILE}, {b"a": Known("file", 3, 8)}, False, {b"a"}, ()),
        ({b"d": DIRECTORY}, {b"d": Known("directory", 4096, 9)}, False, set(), ()),
        ({b"l": Known("link", target=b"x")}, {b"l": Known("link", 1, 5, b"y")}, False, {b"l"}, ()),
        ({b"l": Known("link", target=b"x")}, {b"l": Known("link", 1, 5, b"x")}, False, set(), ()),
        ({}, {b"x": FILE, b"d": DIRECTORY, b"d/f": FILE}, False, set(), ()),
        ({}, {b"x": FILE, b"d": DIRECTORY, b"d/f": FILE}, True, set(), (b"d", b"x")),
        ({b"a": FILE}, {b"a": DIRECTORY, b"a/b": FILE}, False, {b"a"}, (b"a",)),
        ({b"a": DIRECTORY, b"a/b": FILE}, {b"a": FILE}, False, {b"a", b"a/b"}, (b"a",)),
    ],
)
def test_what_a_sync_does(
    here: dict[bytes, Known],
    there: dict[bytes, Known],
    delete: bool,
    send: set[bytes],
    remove: tuple[bytes, ...],
) -> None:
    size = sum(here[name].size for name in send)
    assert local_files.plan(here, there, delete=delete) == Plan(frozenset(send), remove, size)
