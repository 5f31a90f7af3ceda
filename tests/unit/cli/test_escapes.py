from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmpool.cli.escapes import Escapes, Wish


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (b"ls ~.\r", [b"ls ~.\r"]),
        (b"~.", [Wish.END]),
        (b"ls\r~d", [b"ls\r", Wish.DETACH]),
        (b"~?x~.", [Wish.HELP, b"x~."]),
        (b"~~.", [b"~."]),
        (b"~/bin\n", [b"~/bin\n"]),
        (b"\n~\n~.", [b"\n~\n", Wish.END]),
    ],
)
def test_what_is_meant(typed: bytes, found: list[bytes | Wish]) -> None:
    assert Escapes().feed(typed) == found


@given(st.lists(st.binary(max_size=8)))
def test_it_does_not_matter_how_it_comes(pieces: list[bytes]) -> None:
    escapes = Escapes()
    apart = [part for piece in pieces for part in escapes.feed(piece)]
    whole = Escapes().feed(b"".join(pieces))

    def joined(parts: list[bytes | Wish]) -> list[bytes | Wish]:
        found: list[bytes | Wish] = []
        for part in parts:
            if found and isinstance(part, bytes) and isinstance(found[-1], bytes):
                found[-1] += part
            else:
                found.append(part)
        return found

    assert joined(apart) == whole
