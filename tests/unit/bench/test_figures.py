"""Summaries of what was measured, and how they are read from the kernel and from the wire."""

from __future__ import annotations

import pytest

from bench.contenders.docker import standard_output
from bench.figures import joined, printed, rate, summary
from bench.memory import pss_of
from bench.rest import answer_length, unchunked

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


def test_summary_is_nearest_rank() -> None:
    figures = summary([number / 100 for number in range(100)][::-1], 2)
    assert (figures["n"], figures["failures"]) == (100, 2)
    assert (figures["min"], figures["p50"], figures["p95"], figures["p99"], figures["max"]) == (
        0.0,
        0.5,
        0.95,
        0.99,
        0.99,
    )


def test_summary_of_failures_only_has_no_quantile() -> None:
    assert summary([], 3) == {"n": 0, "failures": 3}


def test_a_load_in_pieces_is_one_load() -> None:
    whole = joined([rate([0.1] * 10, 1, 1.0, 0.5), rate([0.2] * 50, 0, 3.0, 0.3)])
    assert (whole["n"], whole["failures"], whole["seconds"]) == (60, 1, 4.0)
    assert whole["per_second"] == 15.0
    assert whole["client_cpu"] == pytest.approx(0.2)
    assert joined([]) == {"n": 0, "failures": 0}


def test_lost_output_is_a_failure_unless_it_is_said() -> None:
    assert printed(1.0, 321, 1000)["failures"] == 1
    assert printed(1.0, 321, 1000, said=True)["failures"] == 0
    assert printed(1.0, 1000, 1000)["failures"] == 0


@pytest.mark.parametrize("answer", [LENGTH, CHUNKED, EMPTY])
def test_an_answer_is_whole_at_its_last_byte(answer: bytes) -> None:
    for end in range(len(answer)):
        assert answer_length(bytearray(answer[:end])) is None
    assert answer_length(bytearray(answer + LENGTH)) == len(answer)


def test_unchunked() -> None:
    assert unchunked(CHUNKED.partition(b"\r\n\r\n")[2]) == b"hello"


def test_pss_is_bytes() -> None:
    assert (
        pss_of("55-7ff ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:  12 kB\nPss_Dirty: 3 kB\n") == 12288
    )
    assert pss_of("") == 0


def test_the_engines_frames() -> None:
    frames = b"\1\0\0\0\0\0\0\2ab" + b"\2\0\0\0\0\0\0\1x" + b"\1\0\0\0\0\0\0\1c"
    assert standard_output(frames) == "abc"
