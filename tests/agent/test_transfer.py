"""Files over a connection of their own."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.agent.conftest import Agent, eventually
from tests.agent.wire import Refused, Wire
from vmpool.agent.codec import encode, pack
from vmpool.agent.messages import Message

DATA = os.urandom(3_000_001)


def bare(wire: Wire, size: int) -> bytes:
    """Bytes that are no frames: what the decoder holds of them, and the socket's."""
    found = bytearray(wire._decoder._buffer)
    wire._decoder._buffer.clear()
    assert not wire._frames
    while len(found) < size:
        piece = wire.socket.recv(size - len(found))
        if not piece:
            raise EOFError
        found += piece
    return bytes(found)


def open_files(agent: Agent) -> int:
    return len(list(Path(f"/proc/{agent.pid}/fd").iterdir()))


def get(wire: Wire, path: str, **fields: int) -> tuple[bytes, int]:
    """What comes, and the size of the whole."""
    wire.send(Message.FILE_GET, 9, pack(Message.FILE_GET, path=path, **fields))
    header = b""
    while len(header) < 24:  # by hand: what follows the frame is not for the decoder
        header += wire.socket.recv(24 - len(header))
    length = int.from_bytes(header[:4], "little")
    payload = b""
    while len(payload) < length:
        payload += wire.socket.recv(length - len(payload))
    wire._frames += wire._decoder.feed(header + payload)
    coming = wire.expect(Message.FILE_COMING, 9)
    return bare(wire, coming.u64("length")), coming.u64("size")


def put(wire: Wire, pieces: Iterable[bytes], **fields: int | str | None) -> int:
    """The size the file had."""
    wire.send(Message.FILE_PUT, 9, pack(Message.FILE_PUT, **fields))
    ready = wire.expect(Message.FILE_READY, 9)
    for piece in pieces:
        wire.send(Message.FILE_PIECE, 9, piece)
    wire.send(Message.FILE_PIECE, 9)
    wire.expect(Message.DONE, 9)
    return ready.u64("size")


def test_a_file_comes_whole_and_in_part(agent: Agent, wire: Wire) -> None:
    (agent.home / "big").write_bytes(DATA)
    (agent.home / "empty").touch()
    assert get(wire, "big") == (DATA, len(DATA))
    assert get(wire, "big", offset=7, length=100_000) == (DATA[7:100_007], len(DATA))
    assert get(wire, "big", offset=len(DATA) - 3, length=100) == (DATA[-3:], len(DATA))
    assert get(wire, "big", offset=len(DATA) + 3) == (b"", len(DATA))
    assert get(wire, "empty") == (b"", 0)
    wire.ask(Message.PING)


def test_a_file_goes_in_whole_and_goes_on(agent: Agent, wire: Wire) -> None:
    cut = [DATA[at : at + 999_983] for at in range(0, len(DATA), 999_983)]
    assert put(wire, cut, path="d/big", truncate=1, parents=1, mode=0o640, mtime_ns=10**18) == 0
    status = (agent.home / "d/big").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, 10**18)
    assert put(wire, [b"more"], path="d/big", offset=len(DATA)) == len(DATA)
    assert (agent.home / "d/big").read_bytes() == DATA + b"more"
    assert put(wire, [], path="d/big", truncate=1) == len(DATA) + 4
    assert (agent.home / "d/big").read_bytes() == b""
    wire.ask(Message.PING)


def test_many_pieces_of_a_byte(agent: Agent, wire: Wire) -> None:
    frames = b"".join(encode(Message.FILE_PIECE, 9, DATA[at : at + 1]) for at in range(5000))
    wire.send(Message.FILE_PUT, 9, pack(Message.FILE_PUT, path="f", truncate=1))
    wire.expect(Message.FILE_READY, 9)
    wire.socket.sendall(frames + encode(Message.FILE_PIECE, 9) + encode(Message.PING, 10))
    wire.expect(Message.DONE, 9)
    wire.expect(Message.PONG, 10)
    assert (agent.home / "f").read_bytes() == DATA[:5000]


@pytest.mark.parametrize("message", [Message.FILE_GET, Message.FILE_PUT])
def test_what_is_refused(agent: Agent, wire: Wire, message: Message) -> None:
    (agent.home / "d").mkdir()
    os.mkfifo(agent.home / "fifo")
    wrong = {"d": "not_a_file", "fifo": "not_a_file", "no/where": "not_found", "/proc/self/mem": "not_a_file"}
    for path, reason in wrong.items():
        wire.send(message, 5, pack(message, path=path))
        with pytest.raises(Refused, match=f"^{reason}"):
            wire.expect(Message.DONE, 5)
    wire.start(1, "sleep", "100")
    wire.expect(Message.STARTED, 1)
    wire.send(message, 5, pack(message, path="f"))
    with pytest.raises(Refused):
        wire.expect(Message.DONE, 5)
    wire.ask(Message.PING)


def test_a_file_that_shrinks_ends_the_connection(agent: Agent) -> None:
    with (agent.home / "big").open("wb") as file:
        file.truncate(50_000_000)
    wire = agent.connect()
    wire.send(Message.FILE_GET, 9, pack(Message.FILE_GET, path="big"))
    wire.socket.recv(100, socket.MSG_PEEK)
    os.truncate(agent.home / "big", 1000)
    got = 0
    while piece := wire.socket.recv(1 << 20):
        got += len(piece)
    assert got < 50_000_000
    agent.connect().ask(Message.PING)


def test_what_is_no_piece_ends_the_connection(agent: Agent) -> None:
    for wrong in (encode(Message.PING, 9), encode(Message.FILE_PIECE, 8, b"x"), b"\xff" * 24):
        wire = agent.connect()
        wire.send(Message.FILE_PUT, 9, pack(Message.FILE_PUT, path="f"))
        wire.expect(Message.FILE_READY, 9)
        wire.socket.sendall(wrong)
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.receive()
    agent.connect().ask(Message.PING)


def test_a_write_that_fails_is_told_at_once_and_the_rest_is_dropped(agent: Agent, wire: Wire) -> None:
    wire.send(Message.FILE_PUT, 9, pack(Message.FILE_PUT, path="f", offset=(1 << 63) - 10))
    wire.expect(Message.FILE_READY, 9)
    wire.send(Message.FILE_PIECE, 9, b"x" * 100)
    with pytest.raises(Refused):
        wire.expect(Message.DONE, 9)
    wire.send(Message.FILE_PIECE, 9, b"x" * 1000)
    wire.send(Message.FILE_PIECE, 9)
    wire.ask(Message.PING)


def test_a_reader_that_goes_away_leaves_nothing_open(agent: Agent) -> None:
    (agent.home / "big").write_bytes(DATA * 10)
    before = open_files(agent)
    for _ in range(5):
        wire = agent.connect()
        wire.send(Message.FILE_GET, 9, pack(Message.FILE_GET, path="big"))
        wire.socket.recv(10)
        wire.close()
    eventually(lambda: open_files(agent) <= before)


def test_executions_go_on_beside_a_reader_that_does_not_read(agent: Agent, wire: Wire) -> None:
    (agent.home / "big").write_bytes(DATA * 10)
    slow = agent.connect()
    slow.send(Message.FILE_GET, 9, pack(Message.FILE_GET, path="big"))
    for number in range(1, 4):
        assert wire.sh(number, "echo fine").stdout == b"fine\n"
