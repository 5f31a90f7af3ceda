"""Links: what was signed is read, and nothing else is."""

from __future__ import annotations

import string
from datetime import datetime

import pytest

from vmpool.domain.share import Share, SharedPort, label, named, read, signed

KEY = b"k" * 32
PORT = SharedPort.of(7, datetime(2030, 1, 2, 3, 4, 5, 678901), 8080)
SHARE = Share(PORT, 3, 1_900_000_000)
ALPHABET = string.ascii_letters + string.digits + "-_"


def test_what_was_signed_is_read() -> None:
    token = signed(KEY, SHARE)
    assert read(KEY, token) == SHARE
    assert len(token) == 84 and set(token) <= set(ALPHABET)


def test_every_other_text_is_not() -> None:
    token = signed(KEY, SHARE)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        assert read(KEY, token[:place] + other + token[place + 1 :]) is None
    for wrong in (
        "",
        token[:-1],
        token + "A",
        token.lower(),
        "A" * 84,
        "é" * 84,
        token[:-4] + "====",
        " " * 84,
    ):
        assert read(KEY, wrong) is None
    assert read(b"K" * 32, token) is None


@pytest.mark.parametrize(
    "other",
    [
        SharedPort(8, PORT.made, PORT.port),
        SharedPort(PORT.vm_id, PORT.made + 1, PORT.port),
        SharedPort(PORT.vm_id, PORT.made, 8081),
    ],
)
def test_a_label_is_one_ports_of_one_vm(other: SharedPort) -> None:
    mine = label(KEY, PORT)
    assert named(mine) == (7, 8080)
    assert mine.startswith("p8080-7-") and len(mine) <= 63
    assert label(KEY, other) != mine
    assert label(b"K" * 32, PORT) != mine
    assert label(KEY, PORT) == mine


@pytest.mark.parametrize(
    "text", ["", "www", "p0-1-0123456789", "p80-1", "p80-1-0123456789a", "p80-1-ABCDEFABCD"]
)
def test_what_is_no_label(text: str) -> None:
    assert named(text) is None


def test_the_largest_fit() -> None:
    port = SharedPort((1 << 63) - 1, (1 << 63) - 1, 65535)
    share = Share(port, (1 << 32) - 1, (1 << 63) - 1)
    assert read(KEY, signed(KEY, share)) == share
    assert named(label(KEY, port)) == (port.vm_id, 65535)
    assert len(label(KEY, port)) <= 63
