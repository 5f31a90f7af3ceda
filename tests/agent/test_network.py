"""The agent's side of the network: programs and hosts that do what nobody should, and what it then holds."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.agent.conftest import Agent, Launch, eventually
from tests.agent.test_hostile import is_closed
from tests.agent.wire import Refused, Wire
from vmpool.agent.codec import PORT, Fields, Frame, encode, pack, unpack
from vmpool.agent.messages import AGENT_CHANNELS, CHANNEL_WINDOW_BYTES, HOST_CHANNELS, Message

PROXY = 3128
PROLOGUE = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
def connect(port=80, host="192.0.2.1"):
    return socket.create_connection((host, port), timeout=60)
"""

UNTIL_RESET = """
try:
    connect().recv(1)
except ConnectionResetError:  # of the second of them, if the first has not heard yet
    print("reset")
"""


def listen(wire: Wire, *direct: int, proxy: int = PROXY, resolver: bool = False, channels: int = 64) -> None:
    ports = [PORT.pack(port) for port in direct]
    wire.ask(Message.LISTEN, proxy=proxy, direct=ports, resolver=int(resolver), channels=channels)


def python(wire: Wire, execution: int, code: str) -> None:
    wire.start(execution, "python3", "-u", "-c", PROLOGUE + code)


def accepted(wire: Wire) -> tuple[int, Fields]:
    """The next channel, and what is said of it; other frames are kept."""
    kept: list[Frame] = []
    while (frame := wire.receive()).type != Message.CHANNEL_ACCEPTED:
        kept.append(frame)
    wire._frames = kept + wire._frames
    return frame.channel, unpack(Message.CHANNEL_ACCEPTED, frame.payload)


def resident_kib(agent: Agent) -> int:
    status = Path(f"/proc/{agent.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


@pytest.fixture
def net(netted: Agent) -> Wire:
    wire = netted.connect()
    listen(wire, 80, 443)
    return wire


def test_a_flood_of_connections_waits_in_the_kernel(netted: Agent) -> None:
    net = netted.connect()
    listen(net, 80, channels=8)
    before = resident_kib(netted)
    python(net, 1, "held = [connect() for _ in range(120)]\nprint('all')\ntime.sleep(60)")
    channels = [accepted(net)[0] for _ in range(8)]
    net.ask(Message.PING)
    net.expect(Message.OUTPUT, 1)  # every one is connected, as the program sees it
    assert not any(frame.type == Message.CHANNEL_ACCEPTED for frame in net._frames)
    for channel in channels:
        net.send(Message.CHANNEL_RESET, channel)
    assert len({accepted(net)[0] for _ in range(8)} | set(channels)) == 16
    assert resident_kib(netted) - before < 1024
    assert net.sh(2, "echo alive").stdout == b"alive\n"


def test_tiny_writes_are_bounded_by_the_credit(net: Wire) -> None:
    code = """
connection = connect()
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
connection.settimeout(None)
while True:
    connection.send(b"x")
"""
    python(net, 1, code)
    channel, _ = accepted(net)
    total = 0
    while total < CHANNEL_WINDOW_BYTES:
        frame = net.receive()
        if frame.type == Message.CHANNEL_DATA:
            assert frame.offset == total
            total += len(frame.payload)
    assert total == CHANNEL_WINDOW_BYTES
    net.ask(Message.PING)
    assert not any(frame.type == Message.CHANNEL_DATA for frame in net._frames)
    net.send(Message.CHANNEL_CREDIT, channel, offset=CHANNEL_WINDOW_BYTES + 7)
    more = 0
    while more < 7:
        more += len(net.receive().payload)
    assert more == 7


def test_while_the_host_does_not_read_what_programs_send_waits_with_them(net: Wire, netted: Agent) -> None:
    before = resident_kib(netted)
    code = """
held = [connect() for _ in range(48)]
for one in held:
    one.sendall(bytes(65536))
time.sleep(60)
"""
    python(net, 1, code)
    eventually(lambda: resident_kib(netted) - before > 256)  # more than the socket holds has come
    assert resident_kib(netted) - before < 2048  # and not the three megabytes there are
    received: dict[int, int] = {}
    while sum(received.values()) < 48 * 65536:
        frame = net.receive()
        if frame.type == Message.CHANNEL_DATA:
            assert frame.offset == received.get(frame.channel, 0)
            received[frame.channel] = frame.offset + len(frame.payload)
    assert set(received.values()) == {65536}
    net.signal(1, 9)


def test_programs_that_never_read_cost_a_window_each(net: Wire, netted: Agent) -> None:
    python(net, 1, "held = [connect() for _ in range(32)]\ntime.sleep(60)")
    before = resident_kib(netted)
    held = [accepted(net)[0] for _ in range(32)]
    for channel in held:
        limit, sent = CHANNEL_WINDOW_BYTES, 0
        while sent < limit:  # as much as is let in: the kernel's buffers, and then one window
            net.send(Message.CHANNEL_DATA, channel, bytes(1 << 15), offset=sent)
            sent += 1 << 15
            net.send(Message.PING, 7)
            while (frame := net.receive()).type != Message.PONG:
                if frame.type == Message.CHANNEL_CREDIT and frame.channel == channel:
                    limit = frame.offset
    assert resident_kib(netted) - before < 32 * 2 * CHANNEL_WINDOW_BYTES // 1024 + 1024
    net.signal(1, 9)
    resets = 0
    while resets < 32:
        resets += net.receive().type == Message.CHANNEL_RESET


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Message.CHANNEL_DATA, 0, b"x", offset=1),
        Frame(Message.CHANNEL_DATA, 0, b""),
        Frame(Message.CHANNEL_DATA, 0, bytes(CHANNEL_WINDOW_BYTES + 1)),
        Frame(Message.CHANNEL_EOF, 0, offset=5),
        Frame(Message.CHANNEL_ACCEPTED, 0),
    ],
    ids=["gap", "empty", "past the credit", "wrong end", "the agent's own"],
)
def test_a_host_that_breaks_the_rules_loses_its_connection(net: Wire, netted: Agent, frame: Frame) -> None:
    python(net, 1, UNTIL_RESET)
    channel, _ = accepted(net)
    net.socket.sendall(encode(frame.type, channel, frame.payload, offset=frame.offset))
    if frame.type == Message.CHANNEL_ACCEPTED:
        with pytest.raises(Refused, match="unknown_message"):
            net.expect(Message.DONE, channel)
        return
    assert is_closed(net)
    after = netted.connect()
    after.send(Message.ATTACH, 1, pack(Message.ATTACH))
    assert after.finish(1).stdout == b"reset\n"


def test_frames_for_no_channel_are_ignored(net: Wire) -> None:
    for message in (Message.CHANNEL_DATA, Message.CHANNEL_CREDIT, Message.CHANNEL_EOF, Message.CHANNEL_CLOSE):
        for channel in (0, 5, AGENT_CHANNELS + 1, HOST_CHANNELS + 1):
            net.send(message, channel, b"x" if message == Message.CHANNEL_DATA else b"", offset=9)
    net.send(Message.CHANNEL_RESET, AGENT_CHANNELS + 1)
    net.ask(Message.PING)


@pytest.mark.parametrize(
    ("channel", "port", "reason"),
    [
        (5, 80, "bad_request"),
        (HOST_CHANNELS + 1, 0, "bad_request"),
        (HOST_CHANNELS + 1, 70000, "bad_request"),
        (HOST_CHANNELS + 1, PROXY, "refused"),
        (HOST_CHANNELS + 1, 81, "refused"),
    ],
)
def test_what_cannot_be_connected_to(net: Wire, channel: int, port: int, reason: str) -> None:
    net.send(Message.CHANNEL_CONNECT, channel, pack(Message.CHANNEL_CONNECT, port=port))
    with pytest.raises(Refused, match=reason):
        net.expect(Message.CHANNEL_CONNECTED, channel)


@pytest.mark.parametrize(
    "fields",
    [
        {"proxy": 70000},
        {"direct": [b"short"]},
        {"direct": [PORT.pack(0)]},
        {"direct": [PORT.pack(port) for port in range(1, 66)]},
        {"proxy": 80, "direct": [PORT.pack(80)]},
        {"channels": 513},
    ],
)
def test_what_cannot_be_listened_for(net: Wire, fields: dict[str, object]) -> None:
    with pytest.raises(Refused, match="bad_request"):
        net.ask(Message.LISTEN, **fields)  # type: ignore[arg-type]


def test_a_port_that_is_taken_is_said_and_nothing_is_listened_for(net: Wire) -> None:
    python(net, 1, "s = socket.create_server(('', 8080))\nprint('up', flush=True)\ntime.sleep(60)")
    net.expect(Message.OUTPUT, 1)
    with pytest.raises(Refused, match="not_supported") as refused:
        listen(net, 80, 8080)
    assert refused.value.errno == 98  # EADDRINUSE
    refusals = net.sh(
        2,
        "for p in 80 443 3128; do python3 -c 'import socket; socket.create_connection"
        "((\"127.0.0.1\", '$p'))' 2>&1 | tail -1; done",
    )
    assert refusals.stdout.count(b"refused") == 3
    net.signal(1, 9)


def test_what_is_no_longer_wished_for_is_closed(net: Wire) -> None:
    python(net, 1, "connection = connect(443)\nprint(connection.recv(9).decode())")
    channel, _ = accepted(net)
    listen(net, 80, proxy=0)
    python(net, 2, "connect(443)")
    assert b"ConnectionRefusedError" in net.finish(2).stderr
    net.send(Message.CHANNEL_DATA, channel, b"goes on")
    net.send(Message.CHANNEL_CLOSE, channel)
    assert net.finish(1).stdout == b"goes on\n"


def test_a_host_that_comes_back_gets_who_waited(net: Wire, netted: Agent) -> None:
    python(net, 1, UNTIL_RESET)
    accepted(net)
    net.socket.shutdown(socket.SHUT_RDWR)
    assert is_closed(net)
    again = netted.connect()
    again.send(Message.ATTACH, 1, pack(Message.ATTACH))
    assert again.finish(1).stdout == b"reset\n"
    python(again, 2, "print(connect().recv(9).decode())")
    again.expect(Message.STARTED, 2)
    time.sleep(0.3)
    assert again.ask(Message.STATS).u64("executions") == 1  # it waits
    listen(again, 80)
    channel, _ = accepted(again)
    again.send(Message.CHANNEL_DATA, channel, b"late")
    again.send(Message.CHANNEL_CLOSE, channel)
    assert again.finish(2).stdout == b"late\n"


def test_without_a_host_for_long_nobody_waits(built: Path, launch: Launch) -> None:
    agent = launch(built, network=True)
    host = agent.connect()
    listen(host, 80)
    host.close()
    wire = agent.connect()
    python(wire, 1, UNTIL_RESET)
    assert wire.finish(1).stdout == b"reset\n"
    python(wire, 2, UNTIL_RESET)
    assert wire.finish(2).stdout == b"reset\n"


RESOLVE = """
import struct
def ask(name, kind=1):
    labels = b"".join(bytes([len(part)]) + part for part in name.encode().split(b"."))
    return struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack("!2H", kind, 1)
def answer(data):
    return data[3] & 15, data[7], socket.inet_ntoa(data[-4:])
"""


def test_any_server_of_names_is_the_agent(netted: Agent) -> None:
    wire = netted.connect()
    listen(wire, 443, resolver=True)
    code = (
        RESOLVE
        + """
for server in ("127.0.0.1", "192.0.2.53"):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.settimeout(30)
    datagrams.connect((server, 53))  # only what comes from there is received
    datagrams.send(ask("example.org"))
    print(*answer(datagrams.recv(600)))
    datagrams.send(ask("example.org", 28))
    print(*answer(datagrams.recv(600))[:2])
    stream = connect(53, server)
    both = b"".join(struct.pack("!H", len(q)) + q for q in (ask("example.org"), ask("other.org")))
    stream.sendall(both[:9])
    time.sleep(0.05)
    stream.sendall(both[9:])
    whole = b""
    while len(whole) < 2 * 2 + 45 + 43:
        whole += stream.recv(600)
    print(*answer(whole[2:2 + 45]))
connect(443, "other.org")
"""
    )
    python(wire, 1, code)
    _, said = accepted(wire)
    assert said.text("host") == "other.org"
    address = "198.18.0.2"
    assert wire.finish(1).stdout.decode().splitlines() == [f"0 1 {address}", "0 0", f"0 1 {address}"] * 2


def test_half_open_questions_do_not_keep_others_from_asking(netted: Agent) -> None:
    wire = netted.connect()
    listen(wire, 443, resolver=True)
    code = (
        RESOLVE
        + """
held = [connect(53) for _ in range(100)]
for one in held:
    one.send(b"\\0")
stream = connect(53)
stream.sendall(b"\\xff\\xff" + bytes(600))
try:
    assert stream.recv(1) == b""
except ConnectionResetError:
    pass
query = ask("example.org")
stream = connect(53)
stream.sendall(struct.pack("!H", len(query)) + query)
print(*answer(stream.recv(600)[2:])[:2])
"""
    )
    python(wire, 1, code)
    assert wire.finish(1).stdout == b"0 1\n"


def test_a_flood_of_names_costs_a_bounded_memory(netted: Agent) -> None:
    wire = netted.connect()
    listen(wire, 443, resolver=True)
    before = resident_kib(netted)
    code = (
        RESOLVE
        + """
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.settimeout(30)
datagrams.connect(("127.0.0.1", 53))
tail = ".".join(["x" * 60] * 3)
for number in range(6000):
    datagrams.send(ask(f"name{number}.{tail}"))
    assert answer(datagrams.recv(600))[1] == 1
connect(443, f"name5999.{tail}")
"""
    )
    python(wire, 1, code)
    _, said = accepted(wire)
    assert said.text("host").startswith("name5999.")
    assert resident_kib(netted) - before < 4096  # half of it the sanitizers


def test_a_connection_that_dies_halfway_gives_its_place_back(netted: Agent) -> None:
    wire = netted.connect()
    listen(wire, 80, channels=2)
    python(wire, 1, "for _ in range(50):\n  connect().close()\nprint('done')")
    for _ in range(50):
        channel, _ = accepted(wire)
        wire.send(Message.CHANNEL_CLOSE, channel)
    assert wire.finish(1).stdout == b"done\n"
    eventually(lambda: len(list(Path(f"/proc/{netted.pid}/fd").iterdir())) < 20)
