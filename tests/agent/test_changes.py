"""Changes below a directory, as the agent tells of them."""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import Agent
from tests.agent.wire import Refused
from vmpool.agent.codec import pack
from vmpool.agent.messages import Message

CHANNEL = 77
MODIFY, ATTRIB, CLOSE_WRITE, MOVED_FROM, MOVED_TO, CREATE, DELETE, DELETE_SELF = (
    0x2,
    0x4,
    0x8,
    0x40,
    0x80,
    0x100,
    0x200,
    0x400,
)
DIRECTORY = 0x40000000

Record = tuple[int, int, bytes]


class Watch:
    """One connection that changes are told over."""

    def __init__(self, agent: Agent, path: str | bytes, *, recursive: bool) -> None:
        self.wire = agent.connect()
        self.wire.send(
            Message.FILE_WATCH, CHANNEL, pack(Message.FILE_WATCH, path=path, recursive=int(recursive))
        )
        try:
            self.directories = self.wire.expect(Message.FILE_WATCHING, CHANNEL).u64("directories")
        except Refused:
            self.wire.close()
            raise
        self.lost = False
        self.unwatched = 0

    def take(self) -> list[Record]:
        """The records of one message."""
        fields = self.wire.expect(Message.FILE_CHANGED, CHANNEL)
        self.lost |= bool(fields.u64("lost"))
        self.unwatched += fields.u64("unwatched")
        return [(*struct.unpack_from("<II", record), record[8:]) for record in fields.many("change")]

    def until(self, mask: int, path: bytes) -> list[Record]:
        """All that is told up to this."""
        seen: list[Record] = []
        while not any(found == mask and name == path for found, _, name in seen):
            seen += self.take()
        return seen


@pytest.fixture
def watch(agent: Agent) -> Iterator[Callable[..., Watch]]:
    opened: list[Watch] = []

    def begin(path: str | bytes = ".", *, recursive: bool = True, patient: bool = True) -> Watch:
        """patient: all inotify instances of this user may be taken for a moment, by a test of abuse."""
        until = time.monotonic() + 30
        while True:
            try:
                opened.append(Watch(agent, path, recursive=recursive))
            except Refused as refused:
                if not patient or refused.reason != "too_many_watches" or time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return opened[-1]

    yield begin
    for one in opened:
        one.wire.close()


def test_a_file_is_made_changed_and_removed(agent: Agent, watch: Callable[..., Watch]) -> None:
    watching = watch(recursive=False)
    (agent.home / "a").write_text("x")
    (agent.home / "a").chmod(0o600)
    (agent.home / "a").unlink()
    seen = [(mask, path) for mask, _, path in watching.until(DELETE, b"a")]
    assert seen == [(CREATE, b"a"), (MODIFY, b"a"), (CLOSE_WRITE, b"a"), (ATTRIB, b"a"), (DELETE, b"a")]


def test_names_are_bytes(agent: Agent, watch: Callable[..., Watch]) -> None:
    watching = watch(str(agent.home), recursive=False)
    for name in (b"new\nline", b"\xff\xfe", b"x" * 255):
        Path(os.fsdecode(os.fsencode(agent.home) + b"/" + name)).touch()
        watching.until(CREATE, name)


def test_a_tree_that_comes_to_be_is_told_of_whole(agent: Agent, watch: Callable[..., Watch]) -> None:
    watching = watch()
    (agent.home / "a" / "b" / "c").mkdir(parents=True)
    (agent.home / "a" / "b" / "c" / "first").touch()
    watching.until(CREATE, b"a/b/c/first")
    (agent.home / "a" / "b" / "c" / "later").touch()
    watching.until(CREATE, b"a/b/c/later")


def test_what_is_there_is_watched_and_not_told(agent: Agent, watch: Callable[..., Watch]) -> None:
    (agent.home / "there" / "inner").mkdir(parents=True)
    (agent.home / "there" / "inner" / "old").touch()
    watching = watch("there")
    assert watching.directories == 2
    (agent.home / "there" / "inner" / "new").touch()
    seen = {path for _, _, path in watching.until(CREATE, b"inner/new")}
    assert seen == {b"inner/new"}


def test_a_directory_keeps_being_watched_where_it_is_moved(agent: Agent, watch: Callable[..., Watch]) -> None:
    (agent.home / "a" / "inner").mkdir(parents=True)
    watching = watch()
    (agent.home / "a").rename(agent.home / "b")
    (agent.home / "b" / "inner" / "x").touch()
    seen = watching.until(CREATE, b"b/inner/x")
    moved = [record for record in seen if record[0] & (MOVED_FROM | MOVED_TO)]
    assert [(mask & ~DIRECTORY, path) for mask, _, path in moved] == [(MOVED_FROM, b"a"), (MOVED_TO, b"b")]
    assert moved[0][1] == moved[1][1] != 0


def test_a_directory_that_is_moved_out_is_no_more_told_of(
    agent: Agent, watch: Callable[..., Watch], tmp_path: Path
) -> None:
    (agent.home / "in" / "a").mkdir(parents=True)
    watching = watch("in")
    (agent.home / "in" / "a").rename(agent.home / "out")
    (agent.home / "in" / "mark").touch()
    watching.until(CREATE, b"mark")
    (agent.home / "out" / "x").touch()
    (agent.home / "in" / "end").touch()
    assert not [path for _, _, path in watching.until(CREATE, b"end") if path.endswith(b"x")]
    (agent.home / "out").rename(agent.home / "in" / "back")
    watching.until(MOVED_TO | DIRECTORY, b"back")
    (agent.home / "in" / "mark").unlink()
    watching.until(DELETE, b"mark")
    (agent.home / "in" / "back" / "y").touch()
    watching.until(CREATE, b"back/y")


def test_links_are_not_followed(agent: Agent, watch: Callable[..., Watch]) -> None:
    (agent.home / "in").mkdir()
    (agent.home / "out").mkdir()
    (agent.home / "in" / "link").symlink_to(agent.home / "out")
    watching = watch("in")
    assert watching.directories == 1
    (agent.home / "in" / "later").symlink_to(agent.home / "out")
    (agent.home / "out" / "x").touch()
    (agent.home / "in" / "end").touch()
    assert not [path for _, _, path in watching.until(CREATE, b"end") if path.endswith(b"x")]


def test_the_end_of_the_directory_is_told(agent: Agent, watch: Callable[..., Watch]) -> None:
    (agent.home / "a").mkdir()
    watching = watch("a")
    (agent.home / "a").rmdir()
    watching.until(DELETE_SELF, b"")
    with pytest.raises(Refused, match="gone"):
        watching.wire.expect(Message.FILE_CHANGED, CHANNEL)


@pytest.mark.parametrize(
    ("path", "reason"), [("none", "not_found"), ("file", "not_a_directory"), ("/proc", "not_a_file")]
)
def test_what_cannot_be_watched(agent: Agent, watch: Callable[..., Watch], path: str, reason: str) -> None:
    (agent.home / "file").touch()
    with pytest.raises(Refused, match=reason):
        watch(path)


def test_watches_are_bounded_and_given_back(agent: Agent, watch: Callable[..., Watch]) -> None:
    watches = [watch() for _ in range(16)]
    with pytest.raises(Refused, match="too_many_watches"):
        watch(patient=False)
    watches[0].wire.close()
    agent.connect()  # answered after the agent has seen the close
    assert watch().directories == 1


def test_one_connection_tells_of_one(agent: Agent, watch: Callable[..., Watch]) -> None:
    (agent.home / "x").touch()
    watching = watch()
    with pytest.raises(Refused, match="bad_request"):
        watching.wire.ask(Message.FILE_WATCH, path=".", recursive=1)
    with pytest.raises(Refused, match="bad_request"):
        watching.wire.ask(Message.FILE_GET, path="x")


def test_more_than_anybody_reads_is_lost_and_said_so(agent: Agent, watch: Callable[..., Watch]) -> None:
    """A reader that is slow costs a bounded amount of memory, and what comes after is told again."""
    watching = watch()
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit):
        path = agent.home / f"{'x' * 200}{number}"
        path.touch()
        path.unlink()
    (agent.home / "late").mkdir()
    while not watching.lost:
        watching.take()
    (agent.home / "late" / "x").touch()
    watching.until(CREATE, b"late/x")


def test_a_tree_that_comes_and_goes(agent: Agent, watch: Callable[..., Watch]) -> None:
    """Whatever is told in between, at the end everything that is there is known and watched."""
    watching = watch()
    for turn in range(40):
        root = agent.home / f"t{turn % 3}"
        shutil.rmtree(root, ignore_errors=True)
        (root / "a" / "b").mkdir(parents=True)
        (root / "a").rename(root / "c")
    (agent.home / "mark").touch()
    watching.until(CREATE, b"mark")
    for turn in range(3):
        (agent.home / f"t{turn}" / "c" / "b" / "last").touch()
        watching.until(CREATE, b"t%d/c/b/last" % turn)
