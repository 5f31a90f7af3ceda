"""Names for the host: looked at, listed, made, changed, moved and removed."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import Agent
from tests.agent.wire import Refused, Wire
from vmpool.agent.messages import Message

ODD = (b"plain", b"new\nline", b" ", b"-rf", b"\xff\xfe", "ü".encode(), b"x" * 255, b"\\", b"*")


def entries(wire: Wire, path: str | bytes, length: int = 0) -> Iterator[tuple[bytes, int, int, int, bytes]]:
    """Name, mode, size, mtime, target of everything in a directory, page by page."""
    cursor: int | None = 0
    while cursor is not None:
        page = wire.ask(Message.FILE_LIST, path=path, cursor=cursor, length=length or None)
        for record in page.many("entry"):
            mode, size, mtime, named = struct.unpack_from("<QQQQ", record)
            yield record[32 : 32 + named], mode, size, mtime, record[32 + named :]
        cursor = page.u64("next") if "next" in page else None


def deep(home: Path, depth: int) -> None:
    """Directories in one another, deeper than any path can name."""
    here = os.open(home, os.O_PATH)
    for _ in range(depth):
        os.mkdir("d" * 100, dir_fd=here)
        inner = os.open("d" * 100, os.O_PATH, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_stat(agent: Agent, wire: Wire) -> None:
    (agent.home / "file").write_bytes(b"12345")
    (agent.home / "file").chmod(0o4750)
    (agent.home / "link").symlink_to("file")
    os.mkfifo(agent.home / "fifo")
    found = wire.ask(Message.FILE_STAT, path="file")
    assert (found.u64("mode"), found.u64("size")) == (stat.S_IFREG | 0o4750, 5)
    assert found.u64("mtime_ns") == (agent.home / "file").stat().st_mtime_ns
    link = wire.ask(Message.FILE_STAT, path="link")
    assert (stat.S_ISLNK(link.u64("mode")), link.raw("target")) == (True, b"file")
    assert wire.ask(Message.FILE_STAT, path="link", follow=1).u64("size") == 5
    assert stat.S_ISFIFO(wire.ask(Message.FILE_STAT, path="fifo").u64("mode"))
    assert stat.S_ISDIR(wire.ask(Message.FILE_STAT, path="/").u64("mode"))
    for path, reason in (("none", "not_found"), ("file/x", "not_found"), ("/proc/self", "not_a_file")):
        with pytest.raises(Refused, match=reason):
            wire.ask(Message.FILE_STAT, path=path)


def test_names_of_any_bytes_are_listed(agent: Agent, wire: Wire) -> None:
    inside = agent.home / "d"
    inside.mkdir()
    for name in ODD:
        (inside / os.fsdecode(name)).write_bytes(name)
    (inside / "link").symlink_to(os.fsdecode(b"\xff-nowhere"))
    found = {name: (mode, size, target) for name, mode, size, _, target in entries(wire, "d")}
    assert found.keys() == {*ODD, b"link"}
    assert all(found[name][1:] == (len(name), b"") and stat.S_ISREG(found[name][0]) for name in ODD)
    assert found[b"link"][2] == b"\xff-nowhere"


def test_a_large_directory_comes_in_pages(agent: Agent, wire: Wire) -> None:
    names = {f"file-{number:05}".encode() for number in range(2500)}
    (agent.home / "d").mkdir()
    for name in names:
        (agent.home / "d" / name.decode()).touch()
    for length in (0, 7, 999, 100_000):
        found = [name for name, *_ in entries(wire, "d", length)]
        assert len(found) == len(names) and set(found) == names
    first = wire.ask(Message.FILE_LIST, path="d", length=7)
    assert len(first.many("entry")) == 7 and first.u64("next")
    assert len(wire.ask(Message.FILE_LIST, path="d").many("entry")) <= 1000


@pytest.mark.parametrize(
    ("path", "reason"),
    [("none", "not_found"), ("file", "not_a_directory"), ("file/x", "not_found"), ("/proc", "not_a_file")],
)
def test_what_cannot_be_listed(agent: Agent, wire: Wire, path: str, reason: str) -> None:
    (agent.home / "file").touch()
    with pytest.raises(Refused, match=f"^{reason}"):
        wire.ask(Message.FILE_LIST, path=path)


def test_any_cursor_is_harmless(agent: Agent, wire: Wire) -> None:
    (agent.home / "file").touch()
    for cursor in (1, 1 << 40, (1 << 63) - 1):
        wire.ask(Message.FILE_LIST, path=".", cursor=cursor)
    with pytest.raises(Refused, match="bad_request"):
        wire.ask(Message.FILE_LIST, path=".", cursor=1 << 63)


def test_make(agent: Agent, wire: Wire) -> None:
    wire.ask(Message.FILE_MAKE, path="a/b/c/", parents=1, mode=0o1777)
    assert (agent.home / "a/b/c").stat().st_mode & 0o7777 == 0o1777
    with pytest.raises(Refused, match=r"^exists"):
        wire.ask(Message.FILE_MAKE, path="a/b")
    wire.ask(Message.FILE_MAKE, path="a/b", existing=1, mode=0o700)
    assert (agent.home / "a/b").stat().st_mode & 0o7777 == 0o700
    wire.ask(Message.FILE_MAKE, path="a/b", existing=1)
    assert (agent.home / "a/b").stat().st_mode & 0o7777 == 0o700
    with pytest.raises(Refused, match=r"^not_found"):
        wire.ask(Message.FILE_MAKE, path="x/y")
    wire.ask(Message.FILE_MAKE, path="link", target=b"to/\xff/")
    assert os.readlink(os.fsencode(agent.home / "link")) == b"to/\xff/"  # noqa: PTH115
    (agent.home / "file").write_text("same")
    wire.ask(Message.FILE_MAKE, path="a/second", source="file")
    assert (agent.home / "a/second").samefile(agent.home / "file")
    with pytest.raises(Refused, match=r"^exists"):
        wire.ask(Message.FILE_MAKE, path="file", existing=1)


def test_change(agent: Agent, wire: Wire) -> None:
    (agent.home / "file").touch()
    (agent.home / "link").symlink_to("file")
    wire.ask(Message.FILE_CHANGE, path="file", mode=0o604, mtime_ns=5_000_000_001)
    status = (agent.home / "file").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o604, 5_000_000_001)
    wire.ask(Message.FILE_CHANGE, path="link", mtime_ns=7)
    assert (agent.home / "link").lstat().st_mtime_ns == 7
    assert (agent.home / "file").stat().st_mtime_ns == 5_000_000_001


def test_move(agent: Agent, wire: Wire) -> None:
    (agent.home / "a").write_text("a")
    (agent.home / "b").write_text("b")
    with pytest.raises(Refused, match=r"^exists"):
        wire.ask(Message.FILE_MOVE, path="a", to="b")
    assert (agent.home / "b").read_text() == "b"
    wire.ask(Message.FILE_MOVE, path="a", to="b", replace=1)
    assert (agent.home / "b").read_text() == "a" and not (agent.home / "a").exists()
    wire.ask(Message.FILE_MOVE, path="b", to="c")
    assert (agent.home / "c").exists()
    for wrong in ({"path": "none", "to": "x"}, {"path": "c", "to": "no/where"}):
        with pytest.raises(Refused, match=r"^not_found"):
            wire.ask(Message.FILE_MOVE, **wrong)
    with pytest.raises(Refused, match=r"^bad_request"):
        wire.ask(Message.FILE_MOVE, path="c")


def remove(wire: Wire, path: str) -> int:
    """How often one had to ask."""
    count = 1
    while wire.ask(Message.FILE_REMOVE, path=path, tree=1).u64("more"):
        count += 1
    return count


def test_remove(agent: Agent, wire: Wire) -> None:
    outside = agent.home.parent / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    tree = agent.home / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "file").touch()
    (tree / "link").symlink_to(outside)
    (agent.home / "link").symlink_to(outside)
    with pytest.raises(Refused, match=r"^not_empty"):
        wire.ask(Message.FILE_REMOVE, path="tree")
    assert remove(wire, "tree/") == 1
    assert remove(wire, "link/") == 1
    assert not list(agent.home.iterdir())
    assert (outside / "kept").exists()
    with pytest.raises(Refused, match=r"^not_found"):
        wire.ask(Message.FILE_REMOVE, path="tree", tree=1)
    (agent.home / "empty").mkdir()
    assert wire.ask(Message.FILE_REMOVE, path="empty").u64("more") == 0


def test_a_large_tree_is_removed_in_steps(agent: Agent, wire: Wire) -> None:
    for number in range(1500):
        (agent.home / "t" / f"{number % 7}").mkdir(parents=True, exist_ok=True)
        (agent.home / "t" / f"{number % 7}" / f"{number}").touch()
    assert 3 <= remove(wire, "t") <= 6
    assert not list(agent.home.iterdir())


def test_a_tree_deeper_than_paths_is_removed(agent: Agent, wire: Wire) -> None:
    (agent.home / "t").mkdir()
    deep(agent.home / "t", 300)
    (agent.home / "t" / ".vmpool-removed-1").mkdir()
    (agent.home / "t" / ".vmpool-removed-1" / "mine").touch()
    remove(wire, "t")
    assert not list(agent.home.iterdir())


def test_modes_do_not_keep_a_tree(agent: Agent, wire: Wire) -> None:
    inner = agent.home / "t" / "locked" / "inner"
    inner.mkdir(parents=True)
    (inner / "file").touch()
    inner.chmod(0)
    (agent.home / "t" / "locked").chmod(0o500)
    remove(wire, "t")
    assert not list(agent.home.iterdir())
