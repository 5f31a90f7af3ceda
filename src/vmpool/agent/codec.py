"""Bytes to frames and back, without I/O.

The other side is the inside of a VM and may be hostile: a frame is refused by its announced length before
a byte of it is kept, so a decoder never holds more than one frame and one chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vmpool.agent.messages import FIELDS, HEADER_BYTES, MAX_PAYLOAD_BYTES, NO_STREAM, Field, Message

_HEADER = struct.Struct("<IBBHQQ")
_FIELD = struct.Struct("<HHI")
_U64 = struct.Struct("<Q")
_U64_FIELD = struct.Struct("<HHIQ")
RLIMIT = struct.Struct("<QQQ")
"""A record of START's `rlimit`: resource number, soft, hard."""
PORT = struct.Struct("<Q")
"""A record of LISTEN's `direct`: a port."""
EXECUTION = struct.Struct("<QQQQ")
"""A record of LISTED's `execution`: id, pid, state (1 running, 2 exited), start in microseconds."""

_BY_TAG = {
    message: {field.tag: (name, field) for name, field in fields.items()}
    for message, fields in FIELDS.items()
}

FieldValue = int | str | bytes | Iterable[bytes] | Iterable[str] | None


class ProtocolError(ValueError):
    """The bytes are not the agent protocol; the connection they came over is of no more use."""


class Frame(NamedTuple):
    """One message as it crossed the wire.  `type` is a plain integer: a newer side may know more types."""

    type: int
    channel: int
    payload: bytes = b""
    stream: int = NO_STREAM
    offset: int = 0


def encode(
    type: int, channel: int, payload: bytes = b"", *, stream: int = NO_STREAM, offset: int = 0
) -> bytes:
    """The bytes of one frame; ProtocolError for a payload over the protocol's limit."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(f"a payload of {len(payload)} bytes; {MAX_PAYLOAD_BYTES} is the most")
    return _HEADER.pack(len(payload), type, stream, 0, channel, offset) + payload


class Decoder:
    """Takes bytes as they come, gives frames as they become whole."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """Bytes held of a frame that is not whole yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order; ProtocolError once a frame announces too much."""
        held = self._buffer
        source: bytes | bytearray = data
        if held:
            held += data
            source = held
        frames: list[Frame] = []
        position, end = 0, len(source)
        while end - position >= HEADER_BYTES:
            length, type_, stream, _, channel, offset = _HEADER.unpack_from(source, position)
            if length > MAX_PAYLOAD_BYTES:
                raise ProtocolError(f"a frame announces {length} bytes; {MAX_PAYLOAD_BYTES} is the most")
            start = position + HEADER_BYTES
            if end - start < length:
                break
            position = start + length
            frames.append(Frame(type_, channel, bytes(source[start:position]), stream, offset))
        if source is held:
            if position:
                del held[:position]
        elif position < end:
            held += data[position:]
        return frames


class Fields:
    """The decoded payload of one message; a field that was not sent has its type's empty value."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, int | bytes | str | list[bytes]]) -> None:
        self._values = values

    def u64(self, name: str, default: int = 0) -> int:
        value = self._values.get(name, default)
        assert isinstance(value, int)
        return value

    def raw(self, name: str) -> bytes:
        value = self._values.get(name, b"")
        assert isinstance(value, bytes)
        return value

    def text(self, name: str) -> str:
        value = self._values.get(name, "")
        assert isinstance(value, str)
        return value

    def many(self, name: str) -> list[bytes]:
        value = self._values.get(name, [])
        assert isinstance(value, list)
        return value

    def __contains__(self, name: str) -> bool:
        return name in self._values


def pack(message: Message, /, **values: FieldValue) -> bytes:
    """The payload of `message`; None leaves a field out.  ProtocolError for a value it cannot carry."""
    fields = FIELDS[message]
    parts: list[bytes] = []
    for name, value in values.items():
        if value is None:
            continue
        tag, kind, repeated = (field := fields[name]).tag, field.kind, field.repeated
        if kind == "u64":
            if not isinstance(value, int) or not 0 <= value < 1 << 64:
                raise ProtocolError(f"{message.name}.{name}: {value!r} is not an unsigned 64-bit number")
            parts.append(_U64_FIELD.pack(tag, 0, 8, value))
        elif repeated:
            assert not isinstance(value, int | str | bytes)
            for item in value:
                raw = _bytes(item) if isinstance(item, str) else item
                parts += (_FIELD.pack(tag, 0, len(raw)), raw)
        else:
            item = _scalar(message, name, field, value)
            parts += (_FIELD.pack(tag, 0, len(item)), item)
    return b"".join(parts)


def _bytes(text: str) -> bytes:
    """A VM's names are UTF-8, whatever this host's are."""
    return text.encode("utf-8", "surrogateescape")


def _scalar(message: Message, name: str, field: Field, value: FieldValue) -> bytes:
    if isinstance(value, str):
        value = _bytes(value)
    if not isinstance(value, bytes):
        raise ProtocolError(f"{message.name}.{name}: {value!r} is not {field.kind}")
    if field.kind == "path" and b"\0" in value:
        raise ProtocolError(f"{message.name}.{name}: a path cannot hold a NUL byte")
    return value


def unpack(message: Message, payload: bytes) -> Fields:
    """The fields of a payload.

    A tag that is not known is skipped, of a field sent twice the last counts.  ProtocolError where a length
    runs past the end, a number is not 8 bytes long, or a path holds a NUL.
    """
    known = _BY_TAG[message]
    values: dict[str, int | bytes | str | list[bytes]] = {}
    position, end = 0, len(payload)
    while position < end:
        if end - position < 8:
            raise ProtocolError(f"{message.name}: {end - position} bytes where a field should begin")
        tag, _, length = _FIELD.unpack_from(payload, position)
        position += 8
        if length > end - position:
            raise ProtocolError(f"{message.name}: a field of {length} bytes in {end - position}")
        entry = known.get(tag)
        if entry is not None:
            name, field = entry
            if field.kind == "u64":
                if length != 8:
                    raise ProtocolError(f"{message.name}.{name}: a number of {length} bytes")
                values[name] = _U64.unpack_from(payload, position)[0]
            else:
                item = payload[position : position + length]
                if field.repeated:
                    already = values.setdefault(name, [])
                    assert isinstance(already, list)
                    already.append(item)
                elif field.kind == "text":
                    values[name] = item.decode("utf-8", "replace")
                elif field.kind == "path" and b"\0" in item:
                    raise ProtocolError(f"{message.name}.{name}: a path with a NUL byte")
                else:
                    values[name] = item
        position += length
    return Fields(values)
