"""How bytes go through a tunnel: in pieces with their length, so that each direction can end by itself.

A piece is four bytes, its length in network order, and as many bytes; a length of 0 is the end of this
direction.  TLS, and proxies on the way, have no half of a connection, and TCP does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

PROTOCOL: Final = "vmpool-tunnel"
"""What a request names in `Upgrade` to have its connection become a tunnel."""
END: Final = bytes(4)


def piece(data: bytes) -> bytes:
    """`data` as it is sent; not empty."""
    return len(data).to_bytes(4, "big") + data


class Pieces:
    """What comes out of one direction.  It holds nothing but a length that has come in part.

    ended: the end has come; what follows it means nothing.
    """

    __slots__ = ("_head", "_left", "ended")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Bytes of pieces in what has come, never empty."""
        at = 0
        while at < len(data) and not self.ended:
            if self._left:
                part = data[at : at + self._left]
                self._left -= len(part)
                at += len(part)
                yield part
                continue
            taken = min(4 - len(self._head), len(data) - at)
            self._head += data[at : at + taken]
            at += taken
            if len(self._head) == 4:
                self._left = int.from_bytes(self._head, "big")
                self._head = b""
                self.ended = self._left == 0
