"""Frames and payloads survive the wire; hostile bytes are refused and cost no memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.checks import fields_or_refusal
from vmpool.agent.codec import Decoder, Frame, ProtocolError, encode, pack, unpack
from vmpool.agent.messages import FIELDS, HEADER_BYTES, MAX_PAYLOAD_BYTES, Message

u64 = st.integers(0, (1 << 64) - 1)
frames = st.builds(
    Frame,
    type=st.integers(0, 255),
    channel=u64,
    payload=st.binary(max_size=300),
    stream=st.integers(0, 255),
    offset=u64,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
paths = st.binary(max_size=20).filter(lambda raw: b"\0" not in raw)
VALUES = {"u64": u64, "bytes": st.binary(max_size=20), "text": texts, "path": paths}


def wire(frame: Frame) -> bytes:
    return encode(frame.type, frame.channel, frame.payload, stream=frame.stream, offset=frame.offset)


def pieces(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    position = 0
    for size in sizes:
        yield data[position : position + size]
        position += size
    yield data[position:]


@given(st.lists(frames, max_size=6), st.lists(st.integers(0, 64), max_size=40))
def test_frames_come_out_as_they_went_in_however_the_bytes_are_cut(
    sent: list[Frame], sizes: list[int]
) -> None:
    decoder = Decoder()
    received = [frame for piece in pieces(b"".join(map(wire, sent)), sizes) for frame in decoder.feed(piece)]
    assert received == sent
    assert decoder.pending == 0


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_hostile_bytes_give_frames_or_a_protocol_error_and_bounded_memory(chunks: list[bytes]) -> None:
    decoder = Decoder()
    try:
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                assert len(frame.payload) <= MAX_PAYLOAD_BYTES
            assert decoder.pending <= HEADER_BYTES + MAX_PAYLOAD_BYTES
    except ProtocolError:
        pass


@given(st.sampled_from(sorted(FIELDS)), st.binary(max_size=400))
def test_hostile_payloads_give_fields_or_a_protocol_error(message: Message, payload: bytes) -> None:
    fields_or_refusal(message, payload)


@given(st.data())
def test_fields_come_out_as_they_went_in(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(sorted(FIELDS)))
    values: dict[str, Any] = {}
    for name, field in FIELDS[message].items():
        if data.draw(st.booleans()):
            value = VALUES[field.kind]
            values[name] = data.draw(st.lists(value, max_size=4) if field.repeated else value)
    fields = unpack(message, pack(message, **values))
    for name, field in FIELDS[message].items():
        expected = values.get(name)
        if field.repeated:
            assert fields.many(name) == (expected or [])
        elif field.kind == "u64":
            assert fields.u64(name) == (expected or 0)
        elif field.kind == "text":
            assert fields.text(name) == (expected or "")
        else:
            assert fields.raw(name) == (expected or b"")


def test_a_frame_is_refused_by_its_announced_length_alone() -> None:
    header = struct.pack("<IBBHQQ", MAX_PAYLOAD_BYTES + 1, Message.OUTPUT, 1, 0, 1, 0)
    decoder = Decoder()
    assert decoder.feed(header[:-1]) == []
    with pytest.raises(ProtocolError, match="1048577"):
        decoder.feed(header[-1:])


def test_the_largest_frame_passes_and_a_larger_one_is_not_sent() -> None:
    payload = bytes(MAX_PAYLOAD_BYTES)
    assert Decoder().feed(encode(Message.OUTPUT, 1, payload)) == [Frame(Message.OUTPUT, 1, payload)]
    with pytest.raises(ProtocolError):
        encode(Message.OUTPUT, 1, payload + b"x")


def test_an_unknown_tag_is_skipped_and_of_a_repeated_field_the_last_counts() -> None:
    unknown = struct.pack("<HHI", 999, 0, 3) + b"abc"
    payload = unknown + pack(Message.SIGNAL, signal=2) + unknown + pack(Message.SIGNAL, signal=15)
    assert unpack(Message.SIGNAL, payload).u64("signal") == 15


@pytest.mark.parametrize(
    "payload",
    [
        b"\1",
        struct.pack("<HHI", 1, 0, 9) + b"12345678",
        struct.pack("<HHI", 1, 0, 4) + b"1234",
        struct.pack("<HHI", 1, 0, 0xFFFFFFFF),
    ],
    ids=["short field", "length past the end", "number of four bytes", "huge length"],
)
def test_malformed_payloads(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(Message.SIGNAL, payload)


@pytest.mark.parametrize(
    ("message", "values"),
    [
        (Message.SIGNAL, {"signal": -1}),
        (Message.SIGNAL, {"signal": 1 << 64}),
        (Message.FILE_READ, {"path": b"a\0b"}),
        (Message.FILE_READ, {"path": 7}),
    ],
)
def test_values_that_cannot_be_carried(message: Message, values: dict[str, int | bytes]) -> None:
    with pytest.raises(ProtocolError):
        pack(message, **values)


def test_text_that_is_not_utf8_is_shown_not_raised() -> None:
    payload = struct.pack("<HHI", 2, 0, 2) + b"\xff\xfe"
    assert unpack(Message.FAILED, payload).text("message") == "\ufffd\ufffd"
