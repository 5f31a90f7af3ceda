"""The tree of a VM's disk as an archive, and out of one."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmpool.backends.trees.packing import archive_size, checksum, pack
from vmpool.backends.trees.unpacking import unpack
from vmpool.backends.trees.vetting import TooLarge, Vetting
from vmpool.tar import END, BadArchive, Entry, Kind, Refused, header, padding

ROOM = 1 << 30
OWNER = (os.geteuid(), os.getegid())


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def packed(path: Path) -> bytes:
    parts: list[bytes] = []
    with opened(path) as top:
        pack(top, parts.append)
        assert archive_size(top) == sum(map(len, parts))
    return b"".join(parts)


def made(path: Path, archive: bytes, room: int = ROOM) -> None:
    path.mkdir(exist_ok=True)
    with opened(path) as top:
        unpack(top, (archive[at : at + 1000] for at in range(0, len(archive), 1000)), Vetting(room))


def sum_of(path: Path) -> str:
    with opened(path) as top:
        return checksum(top)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    inside = tmp_path / "from" / "home" / "inside"
    inside.mkdir(parents=True)
    (inside / "file").write_bytes(b"x" * 100_000)
    (inside / "second").hardlink_to(inside / "file")
    (inside / "link").symlink_to("/etc/passwd")
    os.mkfifo(inside / "pipe")
    with (inside / "holes").open("wb") as file:
        file.seek(10 << 20)
        file.write(b"end")
    Path(os.fsdecode(os.fsencode(inside) + b"/odd\n\xff")).write_text("odd")
    (inside / "run").touch(mode=0o750)
    os.utime(inside / "file", ns=(5, 10**18 + 7))
    os.utime(inside, ns=(5, 10**18 + 9))
    return tmp_path / "from"


def test_there_and_back(tree: Path, tmp_path: Path) -> None:
    archive = packed(tree)
    made(tmp_path / "to", archive)
    assert packed(tmp_path / "to") == archive
    assert sum_of(tmp_path / "to") == sum_of(tree)
    inside = tmp_path / "to/home/inside"
    assert (inside / "file").stat().st_nlink == 2
    assert (inside / "holes").stat().st_blocks * 512 < 1 << 20
    assert stat.S_ISFIFO((inside / "pipe").lstat().st_mode)


def test_every_change_changes_the_checksum(tree: Path) -> None:
    inside = tree / "home/inside"
    seen = {sum_of(tree)}

    def changed() -> None:
        found = sum_of(tree)
        assert found not in seen
        seen.add(found)

    status = (inside / "file").stat()
    with (inside / "file").open("r+b") as file:
        file.seek(70_000)
        file.write(b"y")
    os.utime(inside / "file", ns=(5, status.st_mtime_ns))
    changed()
    (inside / "run").chmod(0o751)
    changed()
    os.utime(inside / "run", ns=(5, 5))
    changed()
    (inside / "link").unlink()
    (inside / "link").symlink_to("/etc/shadow")
    changed()
    with (inside / "holes").open("r+b") as file:
        file.truncate(10 << 20)
    changed()


def test_holes_and_zeros_are_the_same(tmp_path: Path) -> None:
    for name, content in (("a", None), ("b", bytes(200_000))):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "file"
        file.write_bytes(content or b"")
        os.truncate(file, 200_000)
        os.utime(file, ns=(5, 5))
    assert sum_of(tmp_path / "a") == sum_of(tmp_path / "b")


def entry(name: bytes, kind: Kind = Kind.FILE, content: bytes = b"", **more: object) -> bytes:
    one = Entry(name, kind, len(content), **{"owner": OWNER, **more})  # type: ignore[arg-type]
    return header(one) + content + padding(len(content))


D = Kind.DIRECTORY
TOP = entry(b"top/", D, mode=0o755) + entry(b"top/home/", D, mode=0o755)


@pytest.mark.parametrize(
    "hostile",
    [
        entry(b"../x"),
        entry(b"/x"),
        entry(b"top/../../x"),
        entry(b"top", Kind.LINK, target=b"/etc"),
        entry(b"top"),
        entry(b"top.work/", D),
        TOP + entry(b"top/opt", Kind.LINK, target=b"/etc"),
        TOP + entry(b"top/usr", Kind.OTHER, type=tarfile.CHRTYPE),
        TOP + entry(b"top/opt/", D) + entry(b"top/opt/tool", Kind.LINK, target=b"/"),
        TOP + entry(b"top/home/l", Kind.LINK, target=b"/tmp") + entry(b"top/home/l/x"),
        TOP + entry(b"top/home/l", Kind.LINK, target=b"/tmp") + entry(b"top/home/l/", D),
        TOP + entry(b"top/home/h", Kind.SECOND_NAME, target=b"../outside"),
        TOP + entry(b"top/home/h", Kind.SECOND_NAME, target=b"top/home/missing"),
        TOP + entry(b"top/home/disk", Kind.OTHER, type=tarfile.BLKTYPE, device=(8, 0)),
        TOP + entry(b"top/home/x") * 2,
        TOP + entry(b"top/elsewhere/x"),
        TOP + entry(b"top/home/x", owner=(70_000, 0)),
        TOP + entry(b"top/home/x", mode=0o4755, owner=(0, 0)),
        TOP + entry(b"top/home/x", attributes={"trusted.overlay.metacopy": b""}),
        TOP + entry(b"top/home/x", attributes={"user.overlay.redirect": b"/etc"}),
        TOP + entry(b"d/" * 201, D),
    ],
)
def test_what_is_refused(tmp_path: Path, hostile: bytes) -> None:
    (tmp_path / "outside").write_text("mine")
    with pytest.raises(Refused):
        made(tmp_path / "to", hostile + END)
    assert [path.name for path in tmp_path.iterdir() if path.name != "to"] == ["outside"]
    assert (tmp_path / "outside").stat().st_nlink == 1


@pytest.mark.parametrize("archive", [TOP, TOP + END[:100], b"\1" * 512, TOP + header(Entry(b"x", D))[:100]])
def test_what_is_no_archive(tmp_path: Path, archive: bytes) -> None:
    with pytest.raises((BadArchive, Refused)):
        made(tmp_path / "to", archive)


def test_more_than_there_is_room_for(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        made(tmp_path / "to", TOP + header(Entry(b"top/home/x", Kind.FILE, 1 << 40, owner=OWNER)))
    with pytest.raises(TooLarge):
        made(tmp_path / "many", TOP + b"".join(entry(b"top/%d" % n) for n in range(10)), 4096)


def test_a_tree_that_is_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "from"
    path.mkdir()
    with opened(path) as top:
        present = os.dup(top)
        for _ in range(600):
            os.mkdir("d", dir_fd=present)
            below = os.open("d", os.O_RDONLY, dir_fd=present)
            os.close(present)
            present = below
        os.close(present)
        with pytest.raises(Refused):
            checksum(top)
