"""What must hold for any bytes, target by target.  A check that fails raises something else than a refusal.

Each takes bytes whose first few decide how the rest is cut into pieces: a parser must understand the same
however its input arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address

import h11

from fuzz.cutting import pieces
from fuzz.snapshot_checks import snapshot_file, snapshot_layer
from vmpool.agent.codec import Decoder, Frame, ProtocolError, encode, unpack
from vmpool.agent.messages import FIELDS, HEADER_BYTES, MAX_PAYLOAD_BYTES, Message
from vmpool.network.destinations import LONGEST_NAME, Destination
from vmpool.network.http import (
    BadRequest,
    BadResponse,
    Body,
    Forward,
    Head,
    Tunnel,
    parse_request,
    parse_response,
)
from vmpool.network.socks import BadHandshake, Handshake

KNOWN = frozenset(FIELDS)


# -- frames of the agent


def codec(data: bytes) -> None:
    """Frames come out as they went in, however they are cut, and nothing costs more memory than one frame."""
    whole, cut = pieces(data)
    at_once, once_failed = _frames([whole])
    in_pieces, failed = _frames(cut)
    assert once_failed == failed
    assert at_once == in_pieces or (
        failed and not at_once
    )  # a connection that fails is given up with its frames
    again = b"".join(
        encode(one.type, one.channel, one.payload, stream=one.stream, offset=one.offset) for one in at_once
    )
    assert whole.startswith(again) or _reserved(whole, again)
    for frame in at_once:
        _payload(frame)


def _frames(chunks: list[bytes]) -> tuple[list[Frame], bool]:
    decoder, found = Decoder(), []
    for chunk in chunks:
        try:
            for frame in decoder.feed(chunk):
                assert len(frame.payload) <= MAX_PAYLOAD_BYTES
                found.append(frame)
        except ProtocolError:
            return found, True
        assert decoder.pending <= HEADER_BYTES + MAX_PAYLOAD_BYTES
    return found, False


def _reserved(whole: bytes, again: bytes) -> bool:
    """Whether they differ in nothing but the header's reserved bytes, which a reader passes over."""
    at = 0
    while at < len(again):
        length = int.from_bytes(again[at : at + 4], "little")
        end = at + HEADER_BYTES + length
        if whole[at : at + 6] != again[at : at + 6] or whole[at + 8 : end] != again[at + 8 : end]:
            return False
        at = end
    return True


def _payload(frame: Frame) -> None:
    if frame.type in KNOWN:
        fields_or_refusal(Message(frame.type), frame.payload)


def fields_or_refusal(message: Message, payload: bytes) -> None:
    """Any bytes as a message's payload are refused, or every field has its own kind."""
    try:
        fields = unpack(message, payload)
    except ProtocolError:
        return
    for name, field in FIELDS[message].items():
        if field.repeated:
            assert all(isinstance(item, bytes) for item in fields.many(name))
        elif field.kind == "u64":
            assert 0 <= fields.u64(name) < 1 << 64
        elif field.kind == "text":
            fields.text(name).encode()
        else:
            assert isinstance(fields.raw(name), bytes)


# -- requests to the broker


def request(data: bytes) -> None:
    """What is passed on is one request, which a second reader understands as we did."""
    whole, cut = pieces(data)
    head, rest = _head([whole])
    assert (head, rest) == _head(cut)
    if head is None:
        return
    try:
        asked = parse_request(head)
    except BadRequest as refused:
        assert 400 <= refused.status < 600
        return
    _destination(asked.to)
    if isinstance(asked, Tunnel):
        return
    assert asked.head.endswith(b"\r\n\r\n") and asked.head.count(b"\r\n\r\n") == 1
    assert asked.head.count(b"\n") == asked.head.count(b"\r\n") == asked.head.count(b"\r")
    passed, done = _body(asked.body, [rest])
    fresh = parse_request(head)
    assert isinstance(fresh, Forward)
    sizes = [rest[at : at + 1 + len(cut[0])] for at in range(0, len(rest), 1 + len(cut[0]))]
    assert _body(fresh.body, sizes) == (passed, done)
    if passed is not None:
        assert rest.startswith(passed)
        _second_reader(asked, passed, done)


def _head(chunks: list[bytes]) -> tuple[bytes | None, bytes]:
    head, after = Head(), b""
    found: bytes | None = None
    for chunk in chunks:
        if found is not None:
            after += chunk
            continue
        try:
            found = head.feed(chunk)
        except BadRequest:
            return None, b""
        after = head.rest
    return found, after


def _body(body: Body, chunks: list[bytes]) -> tuple[bytes | None, bool]:
    """What passed and whether that was all; None where it was refused."""
    passed = b""
    try:
        for chunk in chunks:
            taken = body.take(chunk)
            passed += taken
            if body.done:
                break
            assert taken == chunk
    except BadRequest:
        return None, False
    return passed, body.done


def _second_reader(asked: Forward, body: bytes, done: bool) -> None:
    """h11, which shares no line with ours: the request that it sees ends where ours ended."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(asked.head + body)
    try:
        events = list(_events(server))
    except h11.RemoteProtocolError:
        return  # the far server refuses it: nothing is smuggled
    assert isinstance(events[0], h11.Request)
    assert events[0].method == asked.method
    hosts = [value for name, value in events[0].headers if name == b"host"]
    assert len(hosts) == 1
    assert (b"connection", b"close") in [(name, value) for name, value in events[0].headers]
    assert any(isinstance(event, h11.EndOfMessage) for event in events) == done
    assert not done or server.trailing_data[0] == b""


def _events(server: h11.Connection) -> Iterator[h11.Event]:
    while True:
        event = server.next_event()
        if event in (h11.NEED_DATA, h11.PAUSED):
            return
        assert not isinstance(event, type)
        yield event
        if isinstance(event, h11.EndOfMessage):
            return


def _destination(to: Destination) -> None:
    assert 0 < to.port < 65536
    assert to.host and len(to.host) <= LONGEST_NAME and to.host.isascii() and to.host == to.host.lower()
    assert not set(to.host) & set(" \t\r\n/@\0%")
    if to.address is not None:
        assert str(ip_address(to.host)) == to.host
    assert Destination.parse(str(to)) == to


def response(data: bytes) -> None:
    """The head a guest gets is one head, and switches no protocol."""
    try:
        status, head = parse_response(data)
    except BadResponse:
        return
    assert 100 <= status < 600 and status != 101
    assert head.endswith(b"\r\n\r\n") and head.count(b"\r\n\r\n") == 1
    assert head.count(b"\n") == head.count(b"\r\n") == head.count(b"\r")


def socks(data: bytes) -> None:
    """The same destination and the same answers however it is cut, and nothing of the request in the rest."""
    whole, cut = pieces(data)
    answers, to, rest = _handshake([whole])
    assert (answers, to, rest) == _handshake(cut)
    if to is not None:
        _destination(to)
        assert whole.endswith(rest)


def _handshake(chunks: list[bytes]) -> tuple[bytes, Destination | None, bytes]:
    handshake, answers = Handshake(), b""
    for number, chunk in enumerate(chunks, 1):
        try:
            answers += handshake.feed(chunk)
        except BadHandshake as refused:
            return answers + refused.answer, None, b""
        if handshake.destination is not None:
            return answers, handshake.destination, handshake.rest + b"".join(chunks[number:])
    return answers, None, b""


CHECKS: dict[str, Callable[[bytes], None]] = {
    "codec": codec,
    "request": request,
    "response": response,
    "socks": socks,
    "snapshot": snapshot_file,
    "layer": snapshot_layer,
}
