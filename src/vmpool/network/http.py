"""HTTP/1 as a proxy hears it, without any I/O: CONNECT and absolute-form requests, and the answers to them.

One request a connection: what is forwarded says `Connection: close` both ways, so a second request, which
might be for somebody else, is never sent along with the first.  The guest is hostile: heads are bounded,
and what two readers could understand differently (both lengths, a folded line, a bare line feed) is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from vmpool.network.destinations import BadDestination, Destination

MAX_HEAD: Final = 32 << 10
"""Bytes of a request line or status line with its headers."""
MAX_HEADERS: Final = 128
MAX_CHUNK_LINE: Final = 1 << 10
"""Bytes of a chunk's size with its extensions, and of a line of trailers."""
MAX_TRAILERS: Final = 32

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_VERSION = re.compile(rb"HTTP/1\.[01]")
_STATUS = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_DIGITS = re.compile(rb"[0-9]{1,15}")
_HEX = re.compile(rb"[0-9A-Fa-f]{1,15}")
_NAMED = re.compile(rb"\{\{([A-Za-z_][A-Za-z0-9_]{0,63})\}\}")

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)
"""Headers for this hop only, beside those that `Connection` names.  `Transfer-Encoding` and `Trailer` stay:
the body is passed on as it is framed."""

Header = tuple[bytes, bytes]


class BadRequest(Exception):
    """What was sent is not to be answered with what was asked for.  status: HTTP's."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


class BadResponse(Exception):
    """What the server at the other end sent is not to be passed on."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Tunnel:
    """CONNECT: carry bytes both ways."""

    to: Destination


@dataclass(frozen=True, slots=True)
class Forward:
    """One request to pass on.  head: as the server is to see it.  body: follows the head from the guest."""

    to: Destination
    method: bytes
    head: bytes
    body: Body


class Head:
    """Collects bytes until a head is whole; `rest` is what came after it."""

    def __init__(self) -> None:
        self._seen = bytearray()
        self.rest = b""

    def feed(self, data: bytes) -> bytes | None:
        """The head without its empty line, once it is there; BadRequest (431) when it grows too long."""
        begin = max(0, len(self._seen) - 3)
        self._seen += data
        end = self._seen.find(b"\r\n\r\n", begin)
        if end > MAX_HEAD or (end < 0 and len(self._seen) > MAX_HEAD):
            raise BadRequest("the head of the request is too long", 431)
        if end < 0:
            return None
        self.rest = bytes(self._seen[end + 4 :])
        return bytes(self._seen[:end])


class Body:
    """A request's body as it passes by: knows where it ends, changes nothing."""

    def __init__(self, framing: int | Literal["chunked"]) -> None:
        self._left = 0 if framing == "chunked" else framing
        self._state: Literal["data", "size", "data end", "trailer", "done"] = "data"
        self._line = bytearray()
        self._trailers = 0
        if framing == "chunked":
            self._state = "size"
        elif framing == 0:
            self._state = "done"
        self._chunked = framing == "chunked"

    @property
    def done(self) -> bool:
        """Whether all of it has passed."""
        return self._state == "done"

    def take(self, data: bytes) -> bytes:
        """The beginning of `data` that belongs to it; BadRequest where a chunk is malformed."""
        at = 0
        while at < len(data) and self._state != "done":
            at = self._data(data, at) if self._state == "data" else self._whole_line(data, at)
        return data[:at]

    def _data(self, data: bytes, at: int) -> int:
        taken = min(self._left, len(data) - at)
        self._left -= taken
        if self._left == 0:
            self._state = "data end" if self._chunked else "done"
        return at + taken

    def _whole_line(self, data: bytes, at: int) -> int:
        """Take up to a line's end, and act on the line once it is whole."""
        feed = data.find(b"\n", at)
        end = len(data) if feed < 0 else feed + 1
        self._line += data[at:end]
        if len(self._line) > MAX_CHUNK_LINE:
            raise BadRequest("a chunk's line is too long")
        if feed >= 0:
            line, self._line = bytes(self._line), bytearray()
            if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
                raise BadRequest("a chunk's line does not end as it must")
            self._act(line[:-2])
        return end

    def _act(self, line: bytes) -> None:
        match self._state:
            case "size":
                size, _, extension = line.partition(b";")
                if not _HEX.fullmatch(size) or not _VALUE.fullmatch(extension):
                    raise BadRequest("a chunk has no size")
                self._left = int(size, 16)
                self._state = "data" if self._left else "trailer"
            case "data end":
                if line:
                    raise BadRequest("a chunk is longer than it says")
                self._state = "size"
            case _:
                self._trailer(line)

    def _trailer(self, line: bytes) -> None:
        if not line:
            self._state = "done"
            return
        self._trailers += 1
        if self._trailers > MAX_TRAILERS:
            raise BadRequest("the body has too many trailers")
        _header(line)


@dataclass(frozen=True, slots=True)
class _Message:
    """first: the request line or status line."""

    first: bytes
    headers: list[Header] = field(default_factory=list)

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.headers if known.lower() == name]

    def end_to_end(self) -> list[Header]:
        """Headers that are not for this hop only."""
        dropped = set(HOP_BY_HOP)
        for value in self.values(b"connection"):
            dropped |= {name.strip().lower() for name in value.split(b",")}
        dropped -= {b"transfer-encoding", b"content-length", b"host"}  # a body has the end it has
        return [(name, value) for name, value in self.headers if name.lower() not in dropped]


def _header(line: bytes) -> Header:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadRequest("a header is malformed")
    return name, value.strip(b" \t")


def _message(head: bytes) -> _Message:
    first, *lines = head.split(b"\r\n")
    if len(lines) > MAX_HEADERS:
        raise BadRequest("the request has too many headers", 431)
    return _Message(first, [_header(line) for line in lines])


def parse_request(head: bytes) -> Tunnel | Forward:
    """What a request's head, without its empty line, asks of the proxy; BadRequest."""
    message = _message(head)
    words = message.first.split(b" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or not _VERSION.fullmatch(words[2]):
        raise BadRequest("this is not an HTTP/1 request")
    method, target, version = words
    if not _TARGET.fullmatch(target):
        raise BadRequest("the request's target is malformed")
    if method == b"CONNECT":
        return Tunnel(_destination(target, None))
    return _forward(message, method, target, version)


def _forward(message: _Message, method: bytes, target: bytes, version: bytes) -> Forward:
    if target.startswith(b"/"):
        raise BadRequest("this is the VM's proxy: the request must name a whole URL, or use CONNECT")
    scheme, found, rest = target.partition(b"://")
    if not found or scheme.lower() != b"http":
        raise BadRequest("the proxy takes http:// URLs; anything else goes through CONNECT")
    cut = next((place for place, byte in enumerate(rest) if byte in b"/?#"), len(rest))
    authority, path = rest[:cut], rest[cut:].partition(b"#")[0]
    if b"@" in authority:
        raise BadRequest("the URL must not carry a name and a password")
    to = _destination(authority, 80)
    if not path.startswith(b"/"):
        path = b"/" + path
    headers = [(name, value) for name, value in message.end_to_end() if name.lower() != b"host"]
    lines = [
        b"%b %b %b" % (method, path, version),
        b"Host: " + authority,
        *(b"%b: %b" % header for header in headers),
        b"Connection: close",
    ]
    return Forward(to, method, b"\r\n".join(lines) + b"\r\n\r\n", Body(_framing(message, version)))


def _destination(text: bytes, default_port: int | None) -> Destination:
    try:
        return Destination.parse(text.decode("ascii"), default_port)
    except (BadDestination, UnicodeDecodeError) as problem:
        why = problem if isinstance(problem, BadDestination) else "must be ASCII"
        raise BadRequest(f"the request's destination {why}") from None


def _framing(message: _Message, version: bytes) -> int | Literal["chunked"]:
    """How a request's body ends; without either length there is none."""
    codings, lengths = message.values(b"transfer-encoding"), message.values(b"content-length")
    if codings:
        if lengths or version == b"HTTP/1.0":
            raise BadRequest("the request's length is ambiguous")
        if [coding.lower() for coding in codings] != [b"chunked"]:
            raise BadRequest("the request's transfer coding is not 'chunked'", 501)
        return "chunked"
    if not lengths:
        return 0
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise BadRequest("the request's length is malformed")
    return int(lengths[0])


def parse_response(head: bytes) -> tuple[int, bytes]:
    """The status of a response's head, without its empty line, and the head as the guest is to see it.

    BadResponse where it is no HTTP/1, or switches to another protocol, which nobody asked it for.
    """
    try:
        message = _message(head)
    except BadRequest as problem:
        raise BadResponse(problem.why) from None
    line = _STATUS.fullmatch(message.first)
    if line is None:
        raise BadResponse("the answer is not HTTP/1")
    status = int(line[2])
    if status == 101:
        raise BadResponse("the server switches to another protocol")
    headers = message.end_to_end()
    if status >= 200:
        headers.append((b"Connection", b"close"))
    lines = [message.first, *(b"%b: %b" % header for header in headers)]
    return status, b"\r\n".join(lines) + b"\r\n\r\n"


def filled(head: bytes, values: Mapping[bytes, bytes]) -> bytes:
    """A request's head with `{{NAME}}` in its headers replaced by the value of that name, where there is one.

    The request line and `Host`, its first two lines, stay as they are: addresses end up in logs.
    """
    first, host, rest = head.split(b"\r\n", 2)
    return b"\r\n".join((first, host, _NAMED.sub(lambda found: values.get(found[1], found[0]), rest)))


ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"


def answer(status: int, phrase: str, text: str, retry_after: int | None = None) -> bytes:
    """A whole answer of the proxy's own: plain text for people, its gist in the status line for programs."""
    body = text.encode("ascii", "replace") + b"\n"
    lines = [
        f"HTTP/1.1 {status} {phrase}".encode("ascii", "replace"),
        b"Content-Type: text/plain; charset=us-ascii",
        b"Content-Length: %d" % len(body),
        *([] if retry_after is None else [b"Retry-After: %d" % retry_after]),
        b"Connection: close",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
