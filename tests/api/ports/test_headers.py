"""What goes on to a server in a VM and what comes back, header by header."""

from __future__ import annotations

import pytest

from vmpool.api.ports.headers import Visit, from_vm, to_vm

PREFIX = b"/api/vms/3/ports/8080"
KEYED = Visit(8080, b"pool.example.org", "https", "192.0.2.9", PREFIX)
LINKED = Visit(8080, b"p8080-3-0123456789.vms.example.org", "https", "192.0.2.9")
Pairs = list[tuple[bytes, bytes]]


def of(headers: Pairs, name: bytes) -> list[bytes]:
    return [value for found, value in headers if found == name]


@pytest.mark.parametrize("visit", [KEYED, LINKED])
@pytest.mark.parametrize(
    "header",
    [
        (b"connection", b"keep-alive, X-Mine"),
        (b"x-mine", b"1"),
        (b"keep-alive", b"timeout=5"),
        (b"te", b"trailers"),
        (b"trailer", b"X-Sum"),
        (b"upgrade", b"h2c"),
        (b"proxy-authorization", b"Basic eDp5"),
        (b"proxy-connection", b"keep-alive"),
        (b"expect", b"100-continue"),
        (b"forwarded", b"for=10.0.0.1"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-real-ip", b"10.0.0.1"),
        (b"x-forwarded-prefix", b"/elsewhere"),
        (b"authorization", b"Bearer vmp_secret"),
        (b"authorization", b"bearer   vmp_secret"),
        (b"x-vmpool-share", b"token"),
        (b"cookie", b"vmpool_share=token; __Host-vmpool_share=token"),
    ],
)
def test_what_is_not_passed_on(visit: Visit, header: tuple[bytes, bytes]) -> None:
    found = to_vm([(b"connection", b"close, x-mine"), header, (b"x-other", b"2")], visit)
    assert header not in found
    assert of(found, b"x-other") == [b"2"]
    assert of(found, b"connection") == [b"close"]
    assert not any(b"secret" in value or b"token" in value for _, value in found)


def test_what_is_said_of_the_visit() -> None:
    keyed, linked = to_vm([(b"host", b"ignored")], KEYED), to_vm([(b"host", b"ignored")], LINKED)
    assert of(keyed, b"host") == [b"localhost:8080"]
    assert of(linked, b"host") == [LINKED.host]
    for found, visit in ((keyed, KEYED), (linked, LINKED)):
        assert of(found, b"x-forwarded-for") == [b"192.0.2.9"]
        assert of(found, b"x-forwarded-proto") == [b"https"]
        assert of(found, b"x-forwarded-host") == [visit.host]
        assert of(found, b"via") == [b"1.1 vmpool"]
    assert of(keyed, b"x-forwarded-prefix") == [PREFIX]
    assert of(linked, b"x-forwarded-prefix") == []


def test_a_visitors_own_authorization_and_cookies_go_through_a_link() -> None:
    asked = [
        (b"authorization", b"Basic eDp5"),
        (b"cookie", b"vmpool_share=t; a=1;b=2; __Host-vmpool_share=t"),
    ]
    assert of(to_vm(asked, LINKED), b"authorization") == [b"Basic eDp5"]
    assert of(to_vm(asked, LINKED), b"cookie") == [b"a=1; b=2"]
    assert of(to_vm(asked, KEYED), b"authorization") == []


def test_framing_is_ours() -> None:
    found = to_vm([(b"transfer-encoding", b"gzip, chunked")], KEYED)
    assert of(found, b"transfer-encoding") == [b"chunked"]
    assert of(to_vm([(b"content-length", b"5")], KEYED), b"content-length") == [b"5"]


def test_an_upgrade_is_passed_on_where_it_may_be() -> None:
    found = to_vm([(b"connection", b"Upgrade"), (b"upgrade", b"websocket")], LINKED, b"websocket")
    assert of(found, b"connection") == [b"upgrade"]
    assert of(found, b"upgrade") == [b"websocket"]


@pytest.mark.parametrize("visit", [KEYED, LINKED])
@pytest.mark.parametrize(
    "header",
    [
        (b"connection", b"keep-alive"),
        (b"transfer-encoding", b"chunked"),
        (b"keep-alive", b"timeout=5"),
        (b"x-request-id", b"mine"),
        (b"strict-transport-security", b"max-age=1; includeSubDomains"),
        (b"clear-site-data", b'"*"'),
        (b"alt-svc", b'h3=":443"'),
        (b"set-cookie", b"vmpool_share=theirs; Path=/"),
        (b"set-cookie", b"__Host-vmpool_share=theirs; Path=/; Secure"),
    ],
)
def test_what_does_not_come_back(visit: Visit, header: tuple[bytes, bytes]) -> None:
    assert header not in from_vm([header, (b"x-other", b"2")], visit)


def test_at_the_apis_own_host_an_answer_is_nothing_a_browser_runs() -> None:
    asked = [
        (b"content-security-policy", b"default-src *"),
        (b"access-control-allow-origin", b"*"),
        (b"service-worker-allowed", b"/"),
        (b"x-content-type-options", b"whatever"),
    ]
    found = from_vm(asked, KEYED)
    assert of(found, b"content-security-policy") == [b"sandbox; default-src 'none'; frame-ancestors 'none'"]
    assert of(found, b"x-content-type-options") == [b"nosniff"]
    assert of(found, b"access-control-allow-origin") == of(found, b"service-worker-allowed") == []
    linked = from_vm(asked, LINKED)
    assert of(linked, b"content-security-policy") == [b"default-src *"]
    assert of(linked, b"access-control-allow-origin") == [b"*"]


@pytest.mark.parametrize(
    ("cookie", "keyed", "linked"),
    [
        (b"a=1", b"a=1; Path=" + PREFIX + b"/", b"a=1"),
        (b"a=1; Path=/; HttpOnly", b"a=1; HttpOnly; Path=" + PREFIX + b"/", b"a=1; Path=/; HttpOnly"),
        (b"a=1; domain=example.org; path=/x", b"a=1; Path=" + PREFIX + b"/", b"a=1; path=/x"),
    ],
)
def test_a_cookie_is_the_ports_own(cookie: bytes, keyed: bytes, linked: bytes) -> None:
    assert of(from_vm([(b"set-cookie", cookie)], KEYED), b"set-cookie") == [keyed]
    assert of(from_vm([(b"set-cookie", cookie)], LINKED), b"set-cookie") == [linked]


@pytest.mark.parametrize(
    ("location", "keyed", "linked"),
    [
        (b"/login", PREFIX + b"/login", b"/login"),
        (b"http://localhost:8080/a?b", PREFIX + b"/a?b", b"/a?b"),
        (b"http://127.0.0.1:8080", PREFIX + b"/", b"/"),
        (b"http://localhost:80801/", b"http://localhost:80801/", b"http://localhost:80801/"),
        (b"//example.org/", b"//example.org/", b"//example.org/"),
        (b"https://example.org/", b"https://example.org/", b"https://example.org/"),
        (b"next", b"next", b"next"),
    ],
)
def test_a_redirect_leads_where_it_was_meant(location: bytes, keyed: bytes, linked: bytes) -> None:
    assert of(from_vm([(b"location", location)], KEYED), b"location") == [keyed]
    assert of(from_vm([(b"location", location)], LINKED), b"location") == [linked]
