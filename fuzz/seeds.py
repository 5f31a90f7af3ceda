"""Honest inputs, which a fuzzer's mutations begin with."""

from __future__ import annotations

import tarfile

from vmpool.agent.codec import encode, pack
from vmpool.agent.messages import FIELDS, Message
from vmpool.snapshot_file import Layer, Manifest, Writer
from vmpool.tar import END, Entry, Kind, header, padding

CUT = b"\x07\x00"
"""How an input is cut up, before it (see `fuzz.checks`)."""


def codec() -> list[bytes]:
    """A frame of every message, and all of them in one stream."""
    found = []
    for message in Message:
        payload = b"some output"
        if message in FIELDS:
            values: dict[str, int | bytes | list[bytes]] = {}
            for name, field in FIELDS[message].items():
                one: int | bytes = 7 if field.kind == "u64" else b"text"
                values[name] = [b"a", b"b"] if field.repeated else one
            payload = pack(message, **values)
        found.append(encode(message, 3, payload, stream=1, offset=9))
    return [CUT + one for one in (*found, b"".join(found))]


def request() -> list[bytes]:
    """What browsers and package managers send, and what smuggles."""
    texts = [
        "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n\x16\x03\x01",
        "CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n",
        "GET http://example.org/a?b#c HTTP/1.1\r\nHost: other\r\nConnection: x-y\r\nX-Y: 1\r\n\r\n",
        "POST http://1.2.3.4:8080 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n",
        "PUT http://h/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\nrest",
        "PUT http://h/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "GET http://u:p@h/ HTTP/1.1\r\n folded: 1\r\nProxy-Authorization: x\r\n\r\n",
    ]
    return [CUT + text.encode("latin-1") for text in texts]


def response() -> list[bytes]:
    """Heads of servers."""
    return [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive",
        b"HTTP/1.0 404 Not Found\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket",
        b"HTTP/1.1 100 Continue",
    ]


def socks() -> list[bytes]:
    """Every kind of address, and every refusal."""
    greeting = b"\x05\x01\x00"
    return [
        CUT + one
        for one in (
            greeting + b"\x05\x01\x00\x03\x0bexample.org\x01\xbbrest",
            greeting + b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50",
            greeting + b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50",
            greeting + b"\x05\x02\x00\x01" + bytes(6),
            b"\x05\x02\x01\x02",
            b"\x04\x01",
        )
    ]


def layer() -> list[bytes]:
    """A VM's files of every kind, and what is refused."""
    entries = [
        Entry(b"top/", Kind.DIRECTORY, 0, 0o755, attributes={"trusted.overlay.opaque": b"y"}),
        Entry(b"top/" + b"long" * 60, Kind.FILE, 5, 0o644, 10**18 + 5, attributes={"user.a": b"b"}),
        Entry(b"top/link", Kind.LINK, target=b"/etc"),
        Entry(b"top/second", Kind.SECOND_NAME, target=b"top/link"),
        Entry(b"top/gone", Kind.OTHER, type=tarfile.CHRTYPE),
        Entry(b"top/pipe", Kind.OTHER, type=tarfile.FIFOTYPE),
    ]
    refused = [
        Entry(b"../x", Kind.FILE),
        Entry(b"/x", Kind.FILE),
        Entry(b"top/link/x", Kind.FILE),
        Entry(b"su", Kind.FILE, mode=0o4755, owner=(0, 0)),
        Entry(b"disk", Kind.OTHER, type=tarfile.BLKTYPE, device=(8, 0)),
        Entry(b"x", Kind.FILE, attributes={"security.capability": b"\1"}),
    ]
    good = b"".join(header(one) + b"x" * one.size + padding(one.size) for one in entries)
    return [CUT + good + END, *(CUT + good + header(one) + END for one in refused)]


def snapshot() -> list[bytes]:
    """A whole file, and one that is cut short."""
    layers = [one[len(CUT) :] for one in layer()[:2]]
    sizes = tuple(map(len, layers))
    manifest = Manifest("a", "box", "fake", "python", "python", 1024, 9, "2026-01-01T00:00:00Z", "0", sizes)
    writer = Writer(manifest)
    text = writer.begin()
    for number, content in enumerate(layers, 1):
        text += writer.layer(Layer(number, len(content))) + writer.content(content)
    text += writer.end()
    return [CUT + text, CUT + text[:2000]]


SEEDS = {
    "codec": codec,
    "request": request,
    "response": response,
    "socks": socks,
    "snapshot": snapshot,
    "layer": layer,
}
