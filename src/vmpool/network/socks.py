"""SOCKS5 (RFC 1928) without authentication, as its server hears it, without any I/O.  CONNECT only."""

from __future__ import annotations

from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from vmpool.network.destinations import BadDestination, Destination

VERSION: Final = 5
_NO_AUTHENTICATION = 0
_NONE_ACCEPTABLE = b"\x05\xff"
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_LENGTHS = {_IPV4: 4, _IPV6: 16}


class Reply(IntEnum):
    """RFC 1928, section 6."""

    SUCCEEDED = 0
    FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    REFUSED = 5
    TIMED_OUT = 6
    NO_SUCH_COMMAND = 7
    NO_SUCH_ADDRESS_TYPE = 8


def reply(code: Reply) -> bytes:
    """The answer to a request.  The address it must carry is nobody's: the guest has no use for ours."""
    return bytes((VERSION, code, 0, _IPV4)) + bytes(6)


class BadHandshake(Exception):
    """Not to be gone on with.  answer: what to send before closing, perhaps nothing."""

    def __init__(self, why: str, answer: bytes = b"") -> None:
        super().__init__(why)
        self.why = why
        self.answer = answer


class Handshake:
    """From the first byte to the destination: `destination` is there when it is done, `rest` follows it."""

    def __init__(self) -> None:
        self._seen = b""
        self._greeted = False
        self.destination: Destination | None = None

    @property
    def rest(self) -> bytes:
        """Bytes after the request."""
        return self._seen

    def feed(self, data: bytes) -> bytes:
        """Take what came; what to send now.  BadHandshake."""
        self._seen += data
        answer = b""
        if not self._greeted:
            answer = self._greeting()
        if self._greeted and self.destination is None:
            try:
                self._request()
            except BadHandshake as refused:  # the greeting before it, sent along, is answered all the same
                refused.answer = answer + refused.answer
                raise
        return answer

    def _greeting(self) -> bytes:
        seen = self._seen
        if seen and seen[0] != VERSION:
            raise BadHandshake("this is not SOCKS5")
        if len(seen) < 2 or len(seen) < 2 + seen[1]:
            return b""
        methods, self._seen = seen[2 : 2 + seen[1]], seen[2 + seen[1] :]
        if _NO_AUTHENTICATION not in methods:
            raise BadHandshake("the client insists on authentication", _NONE_ACCEPTABLE)
        self._greeted = True
        return bytes((VERSION, _NO_AUTHENTICATION))

    def _request(self) -> None:
        seen = self._seen
        if seen and seen[0] != VERSION:
            raise BadHandshake("the request is not SOCKS5")
        if len(seen) >= 2 and seen[1] != _CONNECT:
            raise BadHandshake("only CONNECT is served", reply(Reply.NO_SUCH_COMMAND))
        if len(seen) < 5:  # the length of a name is the fifth byte
            return
        if seen[2] != 0:
            raise BadHandshake("the request is malformed", reply(Reply.FAILURE))
        begin, length = self._address(seen)
        end = begin + length + 2
        if len(seen) < end:
            return
        host, port = seen[begin : begin + length], int.from_bytes(seen[end - 2 : end], "big")
        self._seen = seen[end:]
        try:
            self.destination = Destination.of(_text(seen[3], host), port)
        except (BadDestination, UnicodeDecodeError):
            raise BadHandshake("the destination is malformed", reply(Reply.FAILURE)) from None

    def _address(self, seen: bytes) -> tuple[int, int]:
        """Where the address begins, and its length."""
        kind = seen[3]
        if kind == _NAME:
            return 5, seen[4]
        if kind not in _LENGTHS:
            raise BadHandshake("no such kind of address", reply(Reply.NO_SUCH_ADDRESS_TYPE))
        return 4, _LENGTHS[kind]


def _text(kind: int, host: bytes) -> str:
    if kind == _NAME:
        return host.decode("ascii")
    return str(IPv4Address(host) if kind == _IPV4 else IPv6Address(host))
