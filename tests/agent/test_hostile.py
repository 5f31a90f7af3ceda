"""Bytes no correct host sends, and more connections than anybody needs."""

from __future__ import annotations

import json
import random
import shutil
import socket
import struct
from pathlib import Path

import pytest

from tests.agent.conftest import Agent
from tests.agent.wire import Refused, Wire, raw_frame
from vmpool.agent.codec import encode, pack
from vmpool.agent.messages import Message

SPECIFICATION = Path(__file__).parents[2] / "spec" / "agent-protocol.json"


def is_closed(wire: Wire) -> bool:
    try:
        while wire.socket.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def still_serves(agent: Agent) -> None:
    wire = agent.connect()
    assert wire.sh(1_000_001, "echo alive").stdout == b"alive\n"
    wire.close()


@pytest.mark.parametrize(
    "data",
    [
        raw_frame(24, 1, length=0xFFFFFFFF),
        raw_frame(24, 1, length=(1 << 20) + 1),
        raw_frame(3, 1, b"\x01\0\0\0\xff\xff\xff\xffsh"),
        raw_frame(1, 1, b"short"),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["enormous", "over the limit", "field past the end", "no field", "http"],
)
def test_malformed_bytes_close_that_connection_only(agent: Agent, data: bytes) -> None:
    other = agent.connect()
    wire = agent.connect()
    wire.socket.sendall(data)
    assert is_closed(wire)
    other.ask(Message.PING)
    still_serves(agent)


def test_nothing_before_hello(agent: Agent) -> None:
    wire = agent.connect(hello=False)
    wire.send(Message.PING, 5)
    with pytest.raises(Refused, match="bad_request"):
        wire.expect(Message.PONG, 5)
    assert is_closed(wire)
    still_serves(agent)


def test_a_message_from_the_future_is_refused_politely(wire: Wire) -> None:
    wire.socket.sendall(raw_frame(200, 77))
    with pytest.raises(Refused, match="unknown_message"):
        wire.expect(Message.PONG, 77)
    wire.ask(Message.PING)


def test_an_unknown_field_is_skipped(wire: Wire) -> None:
    extra = struct.pack("<HHI", 999, 0, 3) + b"new"
    payload = pack(Message.START, argv=[b"/bin/echo", b"fine"], env=[]) + extra
    wire.send(Message.START, 1, payload)
    assert wire.finish(1).stdout == b"fine\n"


@pytest.mark.parametrize(
    "payload",
    [
        pack(Message.START, env=[b"A=1"]),
        pack(Message.START, argv=[b"a\0b"]),
        pack(Message.START, argv=[b"true"], env=[b"no equals sign"]),
        pack(Message.START, argv=[b"true"], rlimit=[b"short"]),
        pack(Message.START, argv=[b"true"], source_path="relative.py", source_data=b""),
        pack(Message.START, argv=[b"true"], stdin_open=1, stdin_data=b"x"),
        struct.pack("<HHIB", 7, 0, 1, 0) + pack(Message.START, argv=[b"true"]),
    ],
)
def test_a_start_that_makes_no_sense(wire: Wire, payload: bytes) -> None:
    wire.send(Message.START, 1, payload)
    with pytest.raises(Refused, match="bad_request"):
        wire.expect(Message.STARTED, 1)
    wire.ask(Message.PING)


def test_random_frames(agent: Agent) -> None:
    """Well-formed frames of any type with payloads from nonsense to nearly right.

    This agent has the host's files before it and may run as root: no value leads out of its home.
    """
    chance = random.Random(7)
    program = agent.home / "program"
    shutil.copy("/bin/true", program)

    def value() -> bytes:
        nonsense = chance.randbytes(chance.randrange(40)).lstrip(b"/").replace(b"..", b"")
        return chance.choice([nonsense[:8], nonsense, bytes(program), bytes(8)])

    for _ in range(60):
        wire = agent.connect()
        wire.socket.settimeout(0.2)
        for _ in range(30):
            type_ = chance.choice([m for m in Message if m is not Message.SHUTDOWN])
            values = [value() for _ in range(chance.randrange(6))]
            payload = b"".join(struct.pack("<HHI", chance.randrange(20), 0, len(one)) + one for one in values)
            if chance.random() < 0.1:
                payload = chance.randbytes(chance.randrange(100))
            if type_ is Message.WARM and chance.random() < 0.9:
                continue
            offset = chance.choice([0, 1, 70_000, 2**63, 2**64 - 1])
            try:
                wire.socket.sendall(
                    encode(type_, chance.randrange(5), payload, stream=chance.randrange(4), offset=offset)
                )
            except OSError:
                break
        wire.close()
    still_serves(agent)


def test_a_reader_that_never_reads_is_not_served_without_end(agent: Agent) -> None:
    """Requests of one that does not take its answers wait; memory stays bounded and others are served."""
    (agent.home / "big").write_bytes(b"x" * 1_000_000)
    wire = agent.connect()
    wire.socket.settimeout(1)
    request = encode(Message.FILE_READ, 9, pack(Message.FILE_READ, path="big"))
    with pytest.raises(TimeoutError):
        for _ in range(100_000):
            wire.socket.sendall(request)
    still_serves(agent)
    wire.socket.settimeout(20)
    for _ in range(20):
        assert len(wire.expect(Message.FILE_DATA, 9).raw("data")) == 1_000_000


def test_half_open_connections_cannot_exhaust_it(agent: Agent) -> None:
    greeted = agent.connect()
    idle: list[socket.socket] = []
    for _ in range(200):
        one = socket.socket(socket.AF_UNIX)
        one.connect(str(agent.path))
        idle.append(one)
    greeted.ask(Message.PING)
    still_serves(agent)
    for one in idle:
        one.close()


def test_every_host_message_is_known(wire: Wire) -> None:
    """None of the specification's answers `unknown_message`."""
    specification = json.loads(SPECIFICATION.read_text())["messages"]
    hosts = {Message[name] for name, one in specification.items() if one["from"] != "agent"}
    hosts -= {Message.SHUTDOWN, Message.FILE_PIECE}  # a piece comes after FILE_READY only
    for message in hosts:
        wire.send(message, 4000 + message)
    wire.send(Message.PING, 9999)
    unknown = []
    while (frame := wire.receive()).channel != 9999:
        if frame.type == Message.FAILED and b"unknown_message" in frame.payload:
            unknown.append(Message(frame.channel - 4000))
    assert unknown == []
