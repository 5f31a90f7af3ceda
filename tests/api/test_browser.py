"""Sessions of browsers, and the dashboard's files: what a cookie opens, and what it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from vmpool.api.browser.pages import POLICY, Pages
from vmpool.api.browser.sessions import (
    COOKIE,
    LIFETIME,
    MAX_SESSIONS,
    SECURE_COOKIE,
    SessionCookies,
    Sessions,
)
from vmpool.api.observed import Observed
from vmpool.telemetry import Telemetry

from .caller import Caller, problem

pytestmark = pytest.mark.anyio

OWN = {"X-VMPool-Session": "1", "Origin": "http://pool"}
VM = {"name": "box", "language": "python"}


@pytest.fixture
async def browser(owner: Caller, app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with the owner's session and no key."""
    answer = await owner.call("POST", "/api/session")
    assert answer.status_code == 201
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://pool", cookies=answer.cookies
    ) as client:
        yield client


async def test_a_key_becomes_a_cookie(owner: Caller) -> None:
    answer = await owner.call("POST", "/api/session")
    said = answer.headers["set-cookie"]
    assert said.startswith(f"{COOKIE}=")
    assert said.endswith("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict")
    assert "vmp_" not in said  # the key itself stays here
    shown = answer.json()
    assert shown["admin"] and {"read", "execute", "manage", "admin"} == set(shown["scopes"])
    assert shown["expires_at"]


async def test_over_tls_the_cookie_is_this_hosts_alone(owner: Caller, app: ASGIApp) -> None:
    authorization = {"Authorization": owner.client.headers["authorization"]}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://pool") as client:
        answer = await client.post("/api/session", headers=authorization)
        assert answer.headers["set-cookie"].startswith(f"{SECURE_COOKIE}=")
        assert "; Secure" in answer.headers["set-cookie"]
        own = {**OWN, "Origin": "https://pool"}
        assert (await client.get("/api/session", headers=own)).status_code == 200


async def test_the_cookie_works_from_the_servers_own_pages(browser: httpx.AsyncClient) -> None:
    made = await browser.post("/api/vms/create", json=VM, headers=OWN)
    assert made.status_code == 201, made.text
    # the way past the framework as well
    ran = await browser.post("/api/vms/box/execute", json={"code": "print(1)"}, headers=OWN)
    assert ran.status_code == 200, ran.text
    assert (await browser.get("/api/vms", headers={"X-VMPool-Session": "1"})).json()[0]["name"] == "box"


@pytest.mark.parametrize(
    "headers",
    [
        {},  # a form or a link
        {"X-VMPool-Session": "1"},  # something that is no browser
        {"Origin": "http://pool"},
        {"X-VMPool-Session": "1", "Origin": "http://elsewhere"},
        {"X-VMPool-Session": "1", "Origin": "http://pool.elsewhere"},
        {"X-VMPool-Session": "1", "Origin": "http://pool:8080"},
        {"X-VMPool-Session": "1", "Origin": "null"},
        {"X-VMPool-Session": "1", "Origin": "http://[pool"},
        {"X-VMPool-Session": "2", "Origin": "http://pool"},
    ],
)
async def test_another_sites_page_changes_nothing(
    browser: httpx.AsyncClient, owner: Caller, headers: dict[str, str]
) -> None:
    problem(await browser.post("/api/vms/create", json=VM, headers=headers), 401, "unauthenticated")
    assert await owner.ok("GET", "/api/vms") == []


async def test_a_link_opens_nothing(browser: httpx.AsyncClient, owner: Caller) -> None:
    """Not even what is only read: a VM's own pages lie below this origin."""
    await owner.create()
    for path in ("/api/vms", "/api/vms/box/ports/8080/", "/api/vms/box/files?path=x"):
        problem(await browser.get(path), 401, "unauthenticated")


async def test_signing_out_ends_it_and_leaves_the_key(browser: httpx.AsyncClient, owner: Caller) -> None:
    token = browser.cookies[COOKIE]
    gone = await browser.delete("/api/session", headers=OWN)
    assert gone.status_code == 204 and "Max-Age=0" in gone.headers["set-cookie"]
    kept = {**OWN, "Cookie": f"{COOKIE}={token}"}
    problem(await browser.get("/api/vms", headers=kept), 401, "unauthenticated")
    await owner.ok("GET", "/api/vms")


async def test_it_ends_with_its_key(owner: Caller, app: ASGIApp) -> None:
    key = await owner.ok("POST", "/api/keys", {"ttl": 60, "scopes": ["read"]}, status=201)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pool") as client:
        headers = {"Authorization": f"Bearer {key['key']}"}
        shown = (await client.post("/api/session", headers=headers)).json()
        assert shown["expires_at"] == key["expires_at"]
        assert shown["scopes"] == ["read"]
        problem(await client.post("/api/vms/create", json=VM, headers=OWN), 403, "insufficient_scope")
        await owner.call("DELETE", f"/api/keys/{key['id']}")
        problem(await client.get("/api/vms", headers=OWN), 401, "unauthenticated")


async def test_what_is_inside_never_sees_the_cookie() -> None:
    """Requests are passed on to servers in VMs; other cookies are theirs."""
    seen: list[Scope] = []

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    sessions = Sessions()
    token, _ = sessions.begin("Bearer key", None)
    cookies = SessionCookies(inside, sessions)
    sent = f"a=1; {COOKIE}={token}; {SECURE_COOKIE}=x; b=2".encode()
    for kind, origin, header in (
        ("websocket", b"http://pool", b"Bearer key"),
        ("websocket", b"http://elsewhere", None),
        ("websocket", None, None),
    ):
        headers = [(b"host", b"pool"), (b"cookie", sent)] + ([(b"origin", origin)] if origin else [])
        await cookies({"type": kind, "scheme": "ws", "headers": headers}, _never, _never)
        found = dict(seen.pop()["headers"])
        assert found[b"cookie"] == b"a=1; b=2"
        assert found.get(b"authorization") == header
    own_key = [(b"host", b"pool"), (b"cookie", sent), (b"authorization", b"Bearer mine")]
    await cookies({"type": "websocket", "scheme": "ws", "headers": own_key}, _never, _never)
    assert dict(seen.pop()["headers"])[b"authorization"] == b"Bearer mine"


def test_sessions_end_by_time_and_by_number() -> None:
    now = datetime(2026, 1, 1)
    sessions = Sessions(lambda: now)
    first, held = sessions.begin("Bearer a", None)
    assert sessions.find(first) == held and sessions.find("other") is None
    short, _ = sessions.begin("Bearer b", now + timedelta(seconds=5))
    now += timedelta(seconds=5)
    assert sessions.find(short) is None and sessions.find(first) == held
    now += LIFETIME
    assert sessions.find(first) is None
    tokens = [sessions.begin("Bearer c", None)[0] for _ in range(MAX_SESSIONS + 1)]
    assert sessions.find(tokens[0]) is None and sessions.find(tokens[1]) is not None


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>hello")
    (folder / "assets" / "index-1.js").write_text("1;" * 1000)
    (folder / "assets" / "secret.txt").write_text("not a kind that is served")
    (folder.parent / "outside.js").write_text("outside")
    return folder


async def test_the_pages_are_served_under_a_strict_policy(app: ASGIApp, built: Path) -> None:
    pages = Observed(Pages(app, built), Telemetry())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url="http://pool") as client:
        page = await client.get("/")
        assert page.text == "<!doctype html>hello"
        assert page.headers["cache-control"] == "no-cache"
        script = await client.get("/assets/index-1.js")
        assert script.text == "1;" * 1000 and script.headers["content-encoding"] == "gzip"
        assert int(script.headers["content-length"]) < 100
        assert "immutable" in script.headers["cache-control"]
        plain = await client.get("/assets/index-1.js", headers={"Accept-Encoding": "identity"})
        assert plain.text == script.text and "content-encoding" not in plain.headers
        for answer in (page, script):
            assert answer.headers.get_list("content-security-policy") == [POLICY]
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        head = await client.head("/")
        assert head.status_code == 200 and head.content == b""
        for path in ("/assets/secret.txt", "/outside.js", "/assets/../../outside.js", "/%2e%2e/outside.js"):
            assert (await client.get(path)).status_code == 401, path
        assert (await client.post("/")).status_code == 401


async def test_without_them_the_server_says_how_to_have_them(app: ASGIApp, tmp_path: Path) -> None:
    pages = Observed(Pages(app, tmp_path / "none"), Telemetry())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(pages), base_url="http://pool") as client:
        answer = await client.get("/")
        assert answer.status_code == 404 and "make web" in answer.text
        assert answer.headers["content-security-policy"] == POLICY


async def _never(*_: object) -> NoReturn:
    raise AssertionError("nothing is sent or received")
