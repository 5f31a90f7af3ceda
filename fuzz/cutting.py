"""How an input is cut up: a parser must understand the same however its bytes arrive."""

from __future__ import annotations


def pieces(data: bytes) -> tuple[bytes, list[bytes]]:
    """The bytes after the first two, and the same cut up as those two say."""
    sizes, rest = data[:2] or b"\0", data[2:]
    cut: list[bytes] = []
    at = turn = 0
    while at < len(rest):
        size = 1 + sizes[turn % len(sizes)]
        cut.append(rest[at : at + size])
        at, turn = at + size, turn + 1
    return rest, cut
