"""A tunnel's pieces, however the connection cuts them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmpool.domain.tunnel import END, Pieces, piece

texts = st.lists(st.binary(min_size=1, max_size=40), max_size=8)


@given(texts, st.lists(st.integers(min_value=1, max_value=9), min_size=1, max_size=40), st.binary(max_size=9))
def test_what_was_sent_comes_out(sent: list[bytes], cuts: list[int], after: bytes) -> None:
    wire = b"".join(piece(one) for one in sent) + END + after
    pieces, received, at, turn = Pieces(), b"", 0, 0
    while at < len(wire):
        size = cuts[turn % len(cuts)]
        turn += 1
        parts = list(pieces.feed(wire[at : at + size]))
        assert all(parts)
        received += b"".join(parts)
        at += size
    assert received == b"".join(sent)
    assert pieces.ended


def test_without_the_end_it_goes_on() -> None:
    pieces = Pieces()
    assert list(pieces.feed(piece(b"one") + b"\0\0\0")) == [b"one"]
    assert not pieces.ended
    assert list(pieces.feed(b"\2ab" + END)) == [b"ab"]
    assert pieces.ended


def test_a_piece_of_any_length_is_not_held() -> None:
    pieces = Pieces()
    assert list(pieces.feed(b"\xff\xff\xff\xff" + b"x" * 1000)) == [b"x" * 1000]
    assert list(pieces.feed(b"y" * 1000)) == [b"y" * 1000]
