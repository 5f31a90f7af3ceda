from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vmpool.network import http
from vmpool.network.http import (
    MAX_HEAD,
    BadRequest,
    BadResponse,
    Body,
    Forward,
    Head,
    Tunnel,
    parse_request,
    parse_response,
)


def request(*lines: str) -> Tunnel | Forward:
    return parse_request("\r\n".join(lines).encode("latin-1"))


def forward(*lines: str) -> Forward:
    found = request(*lines)
    assert isinstance(found, Forward)
    return found


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("abc.test:443", "abc.test", 443),
        ("AbC.test.:443", "abc.test", 443),
        ("1.2.3.4:22", "1.2.3.4", 22),
        ("[2606:4700::1111]:443", "2606:4700::1111", 443),
        ("[::ffff:10.0.0.1]:80", "10.0.0.1", 80),
    ],
)
def test_connect(target: str, host: str, port: int) -> None:
    found = request(f"CONNECT {target} HTTP/1.1", f"Host: {target}")
    assert isinstance(found, Tunnel)
    assert (found.to.host, found.to.port) == (host, port)


def test_a_request_is_passed_on_without_what_is_for_this_hop() -> None:
    found = forward(
        "POST http://Example.org:8080/a?b#c HTTP/1.1",
        "Host: somebody.else",
        "Proxy-Connection: keep-alive",
        "Proxy-Authorization: Basic c2VjcmV0",
        "Connection: keep-alive, X-Mine",
        "X-Mine: dropped",
        "Upgrade: h2c",
        "TE: trailers",
        "Accept:  */* ",
        "Content-Length: 3",
    )
    assert (found.to.host, found.to.port) == ("example.org", 8080)
    assert found.head == (
        b"POST /a?b HTTP/1.1\r\nHost: Example.org:8080\r\nAccept: */*\r\nContent-Length: 3\r\n"
        b"Connection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("url", "path"), [("http://a.org", "/"), ("http://a.org?q", "/?q"), ("HTTP://a.org/x", "/x")]
)
def test_the_path_of_a_url(url: str, path: str) -> None:
    assert forward(f"GET {url} HTTP/1.0").head.startswith(f"GET {path} HTTP/1.0\r\nHost: a.org\r\n".encode())


def test_a_length_named_in_connection_is_still_the_bodys() -> None:
    found = forward("POST http://a.org/ HTTP/1.1", "Connection: content-length", "Content-Length: 3")
    assert b"Content-Length: 3" in found.head


BAD_REQUESTS = [
    ("GET / HTTP/1.1",),
    ("GET https://a.org/ HTTP/1.1",),
    ("GET ftp://a.org/ HTTP/1.1",),
    ("GET http://user:pass@a.org/ HTTP/1.1",),
    ("GET http:///x HTTP/1.1",),
    ("GET http://a.org:0/ HTTP/1.1",),
    ("GET http://a.org:99999/ HTTP/1.1",),
    ("GET http://[::1/ HTTP/1.1",),
    ("GET http://[fe80::1%25eth0]/ HTTP/1.1",),
    ("GET http://a_b..org/ HTTP/1.1",),
    ("GET http://a.org/ HTTP/2.0",),
    ("GET http://a.org/",),
    ("GET  http://a.org/ HTTP/1.1",),
    ("G(T http://a.org/ HTTP/1.1",),
    ("GET http://a.org/\x00 HTTP/1.1",),
    ("GET http://a.org/\xe9 HTTP/1.1",),
    ("CONNECT a.org HTTP/1.1",),
    ("CONNECT ::1:80 HTTP/1.1",),
    ("CONNECT http://a.org:443 HTTP/1.1",),
    ("GET http://a.org/ HTTP/1.1", "No colon"),
    ("GET http://a.org/ HTTP/1.1", "Space : before"),
    ("GET http://a.org/ HTTP/1.1", "A: b", " folded"),
    ("GET http://a.org/ HTTP/1.1", "A: b\nC: d"),
    ("GET http://a.org/ HTTP/1.1", "A: b\rC: d"),
    ("GET http://a.org/ HTTP/1.1", "A: \x00"),
    ("POST http://a.org/ HTTP/1.1", "Content-Length: 3", "Content-Length: 3"),
    ("POST http://a.org/ HTTP/1.1", "Content-Length: +3"),
    ("POST http://a.org/ HTTP/1.1", "Content-Length: 3, 3"),
    ("POST http://a.org/ HTTP/1.1", "Content-Length: -1"),
    ("POST http://a.org/ HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 3"),
    ("POST http://a.org/ HTTP/1.1", "Transfer-Encoding: gzip, chunked"),
    ("POST http://a.org/ HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ("POST http://a.org/ HTTP/1.0", "Transfer-Encoding: chunked"),
    ("GET http://a.org/ HTTP/1.1", *(f"H{n}: v" for n in range(200))),
]


@pytest.mark.parametrize("lines", BAD_REQUESTS, ids=lambda lines: repr(lines[-1])[:40])
def test_what_could_be_read_in_two_ways_is_refused(lines: tuple[str, ...]) -> None:
    with pytest.raises(BadRequest):
        request(*lines)


def test_a_head_comes_in_any_pieces_and_is_bounded() -> None:
    head = Head()
    whole = None
    for byte in b"GET http://a.org/ HTTP/1.1\r\nA: b\r\n\r\n":
        assert whole is None
        whole = head.feed(bytes((byte,)))
    assert whole == b"GET http://a.org/ HTTP/1.1\r\nA: b"
    assert head.rest == b""
    together = Head()
    assert together.feed(b"X\r\n\r\nrest\r\n\r\n") == b"X"
    assert together.rest == b"rest\r\n\r\n"
    endless = Head()
    with pytest.raises(BadRequest) as caught:
        for _ in range(MAX_HEAD // 1000 + 1):
            endless.feed(b"a" * 1000)
    assert caught.value.status == 431


CHUNKED = b"3;x=y\r\nabc\r\n0A\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=6), st.binary(max_size=8))
def test_a_chunked_body_ends_where_it_ends_in_whatever_pieces_it_comes(cuts: list[int], after: bytes) -> None:
    body, passed, whole = Body("chunked"), b"", CHUNKED + after
    places = [0, *sorted(cuts), len(whole)]
    for begin, end in pairwise(places):
        passed += body.take(whole[begin:end])
    assert body.done
    assert passed == CHUNKED


@given(st.integers(0, 20), st.binary(max_size=40), st.integers(1, 9))
def test_a_body_of_a_known_length_ends_there(length: int, sent: bytes, piece: int) -> None:
    body = Body(length)
    passed = b"".join(body.take(sent[at : at + piece]) for at in range(0, len(sent), piece))
    assert passed == sent[:length]
    assert body.done == (len(sent) >= length)


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n", b"x\r\n", b"-1\r\n", b"0x3\r\nabc\r\n", b"3\nabc\r\n", b"3\r\nabcd\r\n", b"3\r\nabc\n0\r\n",
        b"1" * 16 + b"\r\n", b"3;" + b"e" * 2000, b"0\r\nbad trailer\r\n\r\n", b"0\r\n" + b"A: b\r\n" * 40,
    ],
)  # fmt: skip
def test_a_malformed_chunk_is_refused(sent: bytes) -> None:
    with pytest.raises(BadRequest):
        Body("chunked").take(sent)


def test_an_answer_says_that_the_connection_ends() -> None:
    status, head = parse_response(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2"
    )
    assert status == 200
    assert head == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    assert parse_response(b"HTTP/1.1 100 Continue") == (100, b"HTTP/1.1 100 Continue\r\n\r\n")
    assert parse_response(b"HTTP/1.0 204")[0] == 204


@pytest.mark.parametrize(
    "head", [b"", b"ICY 200 OK", b"HTTP/1.1 600 X", b"HTTP/1.1 101 Switching", b"HTTP/1.1 200 OK\r\nbad"]
)
def test_an_answer_that_is_none(head: bytes) -> None:
    with pytest.raises(BadResponse):
        parse_response(head)


@given(st.binary(max_size=300))
@example(b"CONNECT a.org:443 HTTP/1.1")
@example(b"GET http://a.org/ HTTP/1.1\r\nContent-Length: 5")
def test_any_head_is_read_or_refused(head: bytes) -> None:
    try:
        found = parse_request(head)
    except BadRequest:
        return
    assert 0 < found.to.port < 65536
    if isinstance(found, Forward):
        assert found.head.count(b"\r\n\r\n") == 1
        assert found.head.endswith(b"\r\n\r\n")
        assert b"\n" not in found.head.replace(b"\r\n", b"")


words = st.sampled_from(
    [
        *b"GET http:// CONNECT a.org :80 / HTTP/1.1 Host:a Content-Length:4 [::1] @".split(),
        *b"Transfer-Encoding:chunked Connection:close".split(),
        *(b" ", b"\r\n", b"\n", b"\0", b"\t", b":"),
    ]
)


@given(st.lists(words, max_size=14).map(b"".join))
def test_heads_of_likely_words_are_read_or_refused(head: bytes) -> None:
    test_any_head_is_read_or_refused.hypothesis.inner_test(head)  # type: ignore[attr-defined]


def test_secrets_are_put_into_headers_only() -> None:
    head = (
        b"GET http://a.example/{{TOKEN}} HTTP/1.1\r\nHost: a.example\r\n"
        b"Authorization: Bearer {{TOKEN}}\r\nX-More: {{OTHER}}{{TOKEN}}{{TOKEN}}{{ TOKEN }}"
    )
    asked = http.parse_request(head)
    assert isinstance(asked, http.Forward)
    filled = http.filled(asked.head, {b"TOKEN": b"correct-horse", b"a.example": b"x"})
    assert filled.split(b"\r\n") == [
        b"GET /{{TOKEN}} HTTP/1.1",
        b"Host: a.example",
        b"Authorization: Bearer correct-horse",
        b"X-More: {{OTHER}}correct-horsecorrect-horse{{ TOKEN }}",
        b"Connection: close",
        b"",
        b"",
    ]
    assert http.filled(asked.head, {}) == asked.head
