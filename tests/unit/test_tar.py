"""Archives: written ones are read by others, those of others are read, and hostile ones are refused."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from vmpool import tar
from vmpool.tar import BadArchive, Entry, Kind, Placement, Reader, Refused

ODD = (b"plain", b"\xff\xfe", "ü".encode(), b"new\nline", b"x" * 200, b"d/" * 90 + b"deep")


def entries(data: bytes, step: int = 1 << 20) -> list[tuple[Entry, bytes]]:
    """All entries with their content; the archive comes in pieces of `step` bytes."""
    reader, found = Reader(), []
    for begin in range(0, len(data), step):
        for event in reader.feed(data[begin : begin + step]):
            if isinstance(event, Entry):
                found.append((event, b""))
            elif event is not None:
                found[-1] = (found[-1][0], found[-1][1] + event)
    reader.close()
    return found


def written(*pairs: tuple[Entry, bytes]) -> bytes:
    body = b"".join(tar.header(entry) + data + tar.padding(len(data)) for entry, data in pairs)
    return body + tar.END


@pytest.mark.parametrize("step", [1, 7, 512, 513, 1 << 20])
def test_what_is_written_is_read(step: int) -> None:
    pairs = [
        (Entry(name, Kind.FILE, number * 300, 0o640, 10**18 + number), b"x" * number * 300)
        for number, name in enumerate(ODD)
    ]
    pairs.append((Entry(b"link", Kind.LINK, 0, 0o777, 5 * 10**9, b"\xff" * 150), b""))
    pairs.append((Entry(b"dir/", Kind.DIRECTORY, 0, 0o1755, -1), b""))
    found = entries(written(*pairs), step)
    assert [(entry.name.rstrip(b"/"), data) for entry, data in found] == [
        (entry.name.rstrip(b"/"), data) for entry, data in pairs
    ]
    for (entry, _), (read, _) in zip(pairs, found, strict=True):
        assert (read.kind, read.mode, read.target) == (entry.kind, entry.mode, entry.target)
        assert read.mtime_ns == entry.mtime_ns


def test_others_read_what_is_written(tmp_path: Path) -> None:
    pairs = [(Entry(name, Kind.FILE, 3, 0o600, 10**18 + 5), b"abc") for name in ODD]
    archive = tmp_path / "a.tar"
    archive.write_bytes(written(*pairs))
    with tarfile.open(archive) as opened:
        assert [info.name.encode("utf-8", "surrogateescape") for info in opened] == list(ODD)
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path], check=True, timeout=30)
    inside = tmp_path / "ü"
    assert (inside.read_bytes(), inside.stat().st_mtime_ns) == (b"abc", 10**18 + 5)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_others_write_is_read(form: int) -> None:
    buffer = io.BytesIO()
    names = ["short", "d/" * 20 + "middle", *([] if form == tarfile.USTAR_FORMAT else ["l" * 300])]
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 5, 1_700_000_000
            archive.addfile(info, io.BytesIO(b"12345"))
        fifo = tarfile.TarInfo("fifo")
        fifo.type = tarfile.FIFOTYPE
        archive.addfile(fifo)
    found = entries(buffer.getvalue())
    assert [(entry.name.decode(), data) for entry, data in found[:-1]] == [(name, b"12345") for name in names]
    assert {entry.mtime_ns for entry, _ in found[:-1]} == {1_700_000_000 * 10**9}
    assert found[-1][0].kind is Kind.OTHER


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 512,
        b"\0" * 100,
        written((Entry(b"a", Kind.FILE, 1000), b"x" * 1000))[:900],
        tar.header(Entry(b"\xff" * 300, Kind.FILE))[:600],
    ],
)
def test_what_is_no_archive(data: bytes) -> None:
    with pytest.raises(BadArchive):
        entries(data)


def test_headers_are_bounded() -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    with pytest.raises(BadArchive):
        entries(info.tobuf())


@pytest.mark.parametrize(
    "name", [b"/etc/passwd", b"..", b"a/../../b", b"a/..", b"a\0b", b"x" * 256, b"d/" * 201 + b"x"]
)
def test_names_that_lead_elsewhere(name: bytes) -> None:
    with pytest.raises(Refused):
        tar.place(name)


def test_names_that_stay() -> None:
    assert tar.place(b"./a//b/") == (b"a", b"b")
    assert tar.place(b"./") == ()
    assert tar.place(b"...") == (b"...",)


@pytest.mark.parametrize("target", [b"", b"/", b"/etc", b"../../x", b"b/../../../x", b"a\0"])
def test_links_that_lead_out(target: bytes) -> None:
    with pytest.raises(Refused):
        Placement().of(Entry(b"d/link", Kind.LINK, target=target))


@pytest.mark.parametrize(("name", "target"), [(b"l", b"a"), (b"d/l", b"../a"), (b"d/e/l", b"../../x/y")])
def test_links_that_stay(name: bytes, target: bytes) -> None:
    assert Placement().of(Entry(name, Kind.LINK, target=target))


def test_nothing_goes_through_a_link_of_the_archive() -> None:
    placement = Placement()
    placement.of(Entry(b"d/l", Kind.LINK, target=b"../e"))
    for name in (b"d/l/x", b"./d//l/x/y", b"d/l"):
        with pytest.raises(Refused):
            placement.of(Entry(name, Kind.FILE))
    with pytest.raises(Refused):
        placement.of(Entry(b"n", Kind.SECOND_NAME, target=b"d/l/x"))
    assert placement.of(Entry(b"d/x", Kind.FILE)) == (b"d", b"x")


@pytest.mark.parametrize(
    "entry",
    [
        Entry(b"dev", Kind.OTHER),
        Entry(b".", Kind.FILE),
        Entry(b"./", Kind.LINK, target=b"x"),
        Entry(b"n", Kind.SECOND_NAME, target=b"../x"),
        Entry(b"n", Kind.SECOND_NAME, target=b"/x"),
        Entry(b"n", Kind.SECOND_NAME, target=b""),
    ],
)
def test_entries_that_are_refused(entry: Entry) -> None:
    with pytest.raises(Refused):
        Placement().of(entry)
