"""Files read and written for the host."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from tests.agent.conftest import Agent
from tests.agent.wire import Refused, Wire
from vmpool.agent.messages import Message


def test_write_then_read(agent: Agent, wire: Wire) -> None:
    wire.ask(Message.FILE_WRITE, path="a/b/file", data=b"hello", parents=1, mode=0o640, truncate=1)
    file = agent.home / "a" / "b" / "file"
    assert (file.read_bytes(), file.stat().st_mode & 0o7777) == (b"hello", 0o640)
    reply = wire.ask(Message.FILE_READ, path=str(file))
    assert (reply.raw("data"), reply.u64("size"), reply.u64("mode")) == (b"hello", 5, 0o640)
    assert abs(reply.u64("mtime_ns") - time.time_ns()) < 60e9


def test_in_pieces(agent: Agent, wire: Wire) -> None:
    data = os.urandom(3_000_000)
    step = 700_000
    for offset in range(0, len(data), step):
        piece = data[offset : offset + step]
        wire.ask(Message.FILE_WRITE, path="big", data=piece, offset=offset, truncate=int(offset == 0))
    assert (agent.home / "big").read_bytes() == data
    read = b""
    while len(read) < len(data):
        read += wire.ask(Message.FILE_READ, path="big", offset=len(read)).raw("data")
    assert read == data
    assert wire.ask(Message.FILE_READ, path="big", offset=len(data)).raw("data") == b""
    assert wire.ask(Message.FILE_READ, path="big", offset=5, length=3).raw("data") == data[5:8]


def test_replacing_leaves_nothing_of_the_old(agent: Agent, wire: Wire) -> None:
    (agent.home / "file").write_text("a long old content")
    wire.ask(Message.FILE_WRITE, path="file", data=b"new", truncate=1)
    assert (agent.home / "file").read_text() == "new"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing", "not_found"),
        ("plain/below", "not_found"),
        ("directory", "not_a_file"),
        ("fifo", "not_a_file"),
        ("socket", "not_a_file"),
        ("loop", "not_a_file"),
        ("/dev/zero", "not_a_file"),
        ("/proc/self/mem", "not_a_file"),
        ("/proc/1/environ", "(not_a_file|permission)"),
        ("", "bad_request"),
        ("x" * 5000, "bad_request"),
    ],
)
def test_what_cannot_be_read(agent: Agent, wire: Wire, path: str, reason: str) -> None:
    (agent.home / "plain").write_text("")
    (agent.home / "directory").mkdir()
    (agent.home / "loop").symlink_to("loop")
    os.mkfifo(agent.home / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        try:
            os.chdir(agent.home)
            listener.bind("socket")
        finally:
            os.chdir(here)
        with pytest.raises(Refused, match=f"^{reason}"):
            wire.ask(Message.FILE_READ, path=path)
        wire.ask(Message.PING)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no/such/parent", "not_found"),
        ("directory", "not_a_file"),
        ("fifo", "not_a_file"),
        ("/proc/self/mem", "not_a_file"),
        ("/proc/self/oom_score_adj", "(not_a_file|permission)"),
    ],
)
def test_what_cannot_be_written(agent: Agent, wire: Wire, path: str, reason: str) -> None:
    (agent.home / "directory").mkdir()
    os.mkfifo(agent.home / "fifo")
    with pytest.raises(Refused, match=f"^{reason}"):
        wire.ask(Message.FILE_WRITE, path=path, data=b"x", truncate=1)
    wire.ask(Message.PING)


def test_the_time_of_change_is_set(agent: Agent, wire: Wire) -> None:
    for seconds in (1_000_000_000.25, -3.5):
        wire.ask(Message.FILE_WRITE, path="old", mtime_ns=int(seconds * 1e9) % (1 << 64))
        assert (agent.home / "old").stat().st_mtime_ns == int(seconds * 1e9)
