from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmpool.domain.secret import Mask, MaskedStream, problem_of_value

SECRETS = ("aabaabaa", "abacadae!", "aabaabaa-and-more", "line-one-\nline-two-\nx")
PIECES = st.lists(st.sampled_from([*SECRETS, "aab", "a", "b", "\n", "line-one", "-", "other"]), max_size=12)


@given(PIECES, st.lists(st.integers(0, 60), max_size=12))
def test_however_a_stream_is_cut_no_value_comes_through(pieces: list[str], cuts: list[int]) -> None:
    whole = "".join(pieces).encode()
    stream = MaskedStream(Mask(SECRETS))
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    shown = b"".join(stream.feed(whole[a:b]) for a, b in pairwise(places))
    shown += stream.end()
    assert len(shown) == len(whole)
    for secret in SECRETS:
        assert secret.encode() not in shown
    if len(places) == 2:
        return
    at_once = MaskedStream(Mask(SECRETS))
    assert shown == at_once.feed(whole) + at_once.end()  # the cuts change nothing
    for place, (before, after) in enumerate(zip(whole, shown, strict=True)):
        assert after in (before, ord("*")), place


def test_what_cannot_be_the_beginning_is_not_held_back() -> None:
    stream = MaskedStream(Mask(["correct-horse"]))
    assert stream.feed(b"hello\n") == b"hello\n"
    assert stream.feed(b"is it corr") == b"is it "
    assert stream.feed(b"ect?") == b"correct?"
    assert stream.feed(b"correct-hors") == b""
    assert stream.feed(b"e!") == b"*************!"
    assert stream.feed(b"corr") == b"" and stream.end() == b"corr" and stream.end() == b""


def test_without_values_nothing_is_hidden() -> None:
    assert not Mask([])
    assert MaskedStream(Mask([])).feed(b"anything") == b"anything"


@pytest.mark.parametrize("value", ["short", "x" * 8193, "with\0nul-in-it", "\ud800" * 9, ""])
def test_values_that_are_refused(value: str) -> None:
    assert problem_of_value(value) is not None
    assert problem_of_value("correct-horse") is None
