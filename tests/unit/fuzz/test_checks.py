"""The fuzzers' checks hold for honest inputs and for what was found before, and fail for what is wrong."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.checks import CHECKS
from fuzz.cutting import pieces
from fuzz.seeds import CUT, SEEDS
from vmpool.backends.trees import vetting
from vmpool.network import http, socks
from vmpool.tar import END, Entry, Kind, header

FOUND = {
    "socks": [
        # a bad request that came in one piece with its greeting left the greeting unanswered
        b"\x07\x00\x05\x01\x00\x05\x01\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00&\x00\x00\x00\x00\x01\x00\x00",
    ]
}


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_honest_inputs_and_old_finds(name: str) -> None:
    seeds = SEEDS[name]()
    assert seeds
    for data in [*seeds, *FOUND.get(name, [])]:
        CHECKS[name](data)


@pytest.mark.parametrize("name", sorted(CHECKS))
@settings(deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    CHECKS[name](data)


@given(st.binary(max_size=200))
def test_cutting_loses_nothing(data: bytes) -> None:
    whole, cut = pieces(data)
    assert b"".join(cut) == whole == data[2:]


def test_a_smuggled_request_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that lets both lengths through must not pass the check."""
    monkeypatch.setattr(http, "_framing", lambda message, version: 3)
    request = b"POST http://h/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    with pytest.raises(AssertionError):
        CHECKS["request"](CUT + request)


def test_an_answer_that_depends_on_the_cut_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks.Handshake, "_greeting", lambda handshake: bytes([len(handshake._seen)]))
    with pytest.raises(AssertionError):
        CHECKS["socks"](b"\0\0" + b"\x05\x01\x00\x05\x01")


def test_a_device_that_is_let_through_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetting, "_check_other", lambda entry, overlay: None)
    device = Entry(b"disk", Kind.OTHER, type=tarfile.BLKTYPE, device=(8, 0))
    with pytest.raises(AssertionError):
        CHECKS["layer"](CUT + header(device) + END)
