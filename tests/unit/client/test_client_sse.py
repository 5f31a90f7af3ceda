"""Decoding of server-sent events."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vmpool.client.sse import Decoder, Event

STREAM = (
    ": a comment\n\n"
    "event: log\nid: 1\ndata: first\n\n"
    "data: two\r\ndata:lines\r\n\r\n"
    "data: \u2028 and \x85 are not line ends\n\n"
    "event: nothing\n\n"
    "unknown: field\ndata\n\n"
    "data: never completed"
).encode()
EVENTS = [
    Event("log", "first", "1"),
    Event("message", "two\nlines", "1"),
    Event("message", "\u2028 and \x85 are not line ends", "1"),
    Event("message", "", "1"),
]


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM))))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    decoder = Decoder()
    found = [event for begin, end in pairwise(edges) for event in decoder.feed(STREAM[begin:end])]
    assert found == EVENTS


@given(st.binary())
def test_no_bytes_make_it_fail(data: bytes) -> None:
    assert all(isinstance(event, Event) for event in Decoder().feed(data))


def test_the_last_id_is_of_what_is_complete() -> None:
    decoder = Decoder()
    assert decoder.last_id == ""
    assert decoder.feed(b"id: 5\n\n") == [] and decoder.last_id == "5"
    assert decoder.feed(b"id: 6\ndata: x") == [] and decoder.last_id == "5"
    assert [event.id for event in decoder.feed(b"\n\n: still here\n\n")] == ["6"]
    assert decoder.last_id == "6"
