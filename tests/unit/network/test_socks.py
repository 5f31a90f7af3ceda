from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmpool.network.socks import BadHandshake, Handshake, Reply, reply

GREETING = b"\x05\x02\x02\x00"
NAME = b"\x05\x01\x00\x03\x08AbC.test\x01\xbb"


@pytest.mark.parametrize(
    ("request_", "host", "port"),
    [
        (NAME, "abc.test", 443),
        (b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50", "1.2.3.4", 80),
        (b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50", "::1", 80),
        (b"\x05\x01\x00\x04" + bytes(10) + b"\xff\xff\x0a\x00\x00\x01\x00\x50", "10.0.0.1", 80),
        (b"\x05\x01\x00\x03\x081.2.3.4.\x00\x50", "1.2.3.4", 80),
    ],
)
@given(piece=st.integers(1, 40))
def test_a_handshake_in_any_pieces(request_: bytes, host: str, port: int, piece: int) -> None:
    handshake, answers, sent = Handshake(), b"", GREETING + request_ + b"rest"
    for at in range(0, len(sent), piece):
        if handshake.destination is None:
            answers += handshake.feed(sent[at : at + piece])
    assert answers == b"\x05\x00"
    assert handshake.destination is not None
    assert (handshake.destination.host, handshake.destination.port) == (host, port)
    assert b"rest".startswith(handshake.rest)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\x04\x01\x00\x50\x01\x02\x03\x04\x00", b""),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (GREETING + b"\x04", b""),
        (GREETING + b"\x05\x02\x00\x01" + bytes(6), reply(Reply.NO_SUCH_COMMAND)),
        (GREETING + b"\x05\x03", reply(Reply.NO_SUCH_COMMAND)),
        (GREETING + b"\x05\x01\x00\x02" + bytes(6), reply(Reply.NO_SUCH_ADDRESS_TYPE)),
        (GREETING + b"\x05\x01\x01\x01\x01\x02\x03\x04\x00\x50", reply(Reply.FAILURE)),
        (GREETING + b"\x05\x01\x00\x01\x01\x02\x03\x04\x00\x00", reply(Reply.FAILURE)),
        (GREETING + b"\x05\x01\x00\x03\x00\x00\x50", reply(Reply.FAILURE)),
        (GREETING + b"\x05\x01\x00\x03\x03a b\x00\x50", reply(Reply.FAILURE)),
        (GREETING + b"\x05\x01\x00\x03\x03\xff\x00a\x00\x50", reply(Reply.FAILURE)),
    ],
)
def test_what_is_not_served_is_answered_as_the_rfc_says(sent: bytes, answer: bytes) -> None:
    with pytest.raises(BadHandshake) as caught:
        Handshake().feed(sent)
    greeted = bytes((5, 0)) if sent.startswith(GREETING) else b""
    assert caught.value.answer == greeted + answer


@given(st.lists(st.binary(max_size=40), max_size=8), st.booleans())
def test_any_bytes_are_a_handshake_or_refused(pieces: list[bytes], greeted: bool) -> None:
    handshake = Handshake()
    if greeted:
        handshake.feed(GREETING)
    try:
        for piece in pieces:
            if handshake.destination is None:
                handshake.feed(piece)
    except BadHandshake:
        return
    if handshake.destination is not None:
        assert 0 < handshake.destination.port < 65536
