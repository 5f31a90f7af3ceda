"""Links: who has one reaches the port, at a host of its own, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest

from vmpool.api.ports.site import ShareSite
from vmpool.domain import Scope
from vmpool.errors import InvalidRequest
from vmpool.settings import RateSettings, Settings

from ..caller import problem
from .conftest import Site, client_of, head_of
from .test_upgrades import UPGRADE, Socket, until

pytestmark = pytest.mark.anyio

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def share(site: Site, port: int = 8080, **body: object) -> Any:
    return await site.caller.ok("POST", f"/api/vms/{site.vm}/shares/{port}", body or None, status=201)


def token_of(link: Any) -> str:
    url: str = link["url"]
    return parse_qs(urlsplit(url).query)["vmpool_share"][0]


def host_of(link: Any) -> str:
    url: str = link["url"]
    return urlsplit(url).netloc


class Visitor:
    """Somebody at a link's host, reached by address: names below localhost are for browsers to resolve."""

    def __init__(self, site: Site, host: str) -> None:
        self.host = host
        self.client = client_of(str(site.client.base_url))

    async def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> httpx.Response:
        url = f"{str(self.client.base_url).rstrip('/')}{path}"  # as it is, two slashes included
        return await self.client.request(method, url, headers={"Host": self.host, **(headers or {})})

    async def __aenter__(self) -> Visitor:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.client.aclose()


async def test_a_link_opens_the_port(site: Site) -> None:
    seen = site.heard()
    link = await share(site)
    assert link["vm_id"] == site.vm and link["port"] == 8080
    async with Visitor(site, host_of(link)) as visitor:
        answer = await visitor.get(f"/a/b?x=1&vmpool_share={token_of(link)}&y=2")
        assert (answer.status_code, answer.text) == (200, "hi")
        assert seen.heads[0].split(b"\r\n")[0] == b"GET /a/b?x=1&y=2 HTTP/1.1"
        assert seen.header("host") == [host_of(link)] == seen.header("x-forwarded-host")
        assert token_of(link).encode() not in seen.heads[0]
        by_header = await visitor.get("/", {"X-VMPool-Share": token_of(link), "Authorization": "Basic eDp5"})
        assert by_header.text == "hi"
        assert token_of(link).encode() not in seen.heads[1]
        assert seen.header("authorization") == ["Basic eDp5"]
        await visitor.get("/", {"X-VMPool-Share": token_of(link), "Authorization": f"Bearer {site.key}"})
        assert site.key.encode() not in seen.heads[2]


async def test_a_browser_gets_a_cookie_in_its_place(site: Site) -> None:
    seen = site.heard()
    link = await share(site)
    async with Visitor(site, host_of(link)) as visitor:
        first = await visitor.get(f"//evil.example.org/?a=1&vmpool_share={token_of(link)}", HTML)
        assert first.status_code == 303 and seen.heads == []
        assert first.headers["location"] == f"http://{host_of(link)}//evil.example.org/?a=1"
        assert first.headers["referrer-policy"] == "no-referrer"
        cookie = first.headers["set-cookie"]
        assert cookie.startswith(f"vmpool_share={token_of(link)};")
        assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
        assert "domain" not in cookie.lower()
        kept = {"Cookie": f"a=1; vmpool_share={token_of(link)}"}
        assert (await visitor.get("/page", {**HTML, **kept})).text == "hi"
        assert seen.header("cookie") == ["a=1"]


async def test_a_cookie_counts_for_its_own_pages_only(site: Site) -> None:
    """Not for what another origin's page asks for, which may be another VM's."""
    seen = site.heard()
    link = await share(site)
    own = f"http://{host_of(link)}"
    cookie = {"Cookie": f"vmpool_share={token_of(link)}"}
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with Visitor(site, host_of(link)) as visitor:
        for good in (
            {},
            {"Origin": own},
            {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
            {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
            navigation,
        ):
            assert (await visitor.get("/", {**cookie, **good})).status_code == 200, good
        asked = len(seen.heads)
        for bad in (
            {"Origin": "http://p8080-9-0123456789.localhost"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
            {**navigation, "Sec-Fetch-Dest": "iframe"},
        ):
            problem(await visitor.get("/", {**cookie, **bad}), 401, "share_invalid")
        problem(await visitor.get("/", {**cookie, **navigation}, "POST"), 401, "share_invalid")
        assert len(seen.heads) == asked


async def test_a_websocket_through_a_link(site: Site) -> None:
    site.inside(Socket())
    link = await share(site)
    stream = await anyio.connect_tcp(*site.address)
    async with stream:
        asked = (f"GET /?vmpool_share={token_of(link)} HTTP/1.1", f"Host: {host_of(link)}", *UPGRADE, "", "")
        await stream.send("\r\n".join(asked).encode())
        head, heard = await head_of(stream)
        assert head.startswith(b"HTTP/1.1 101")
        assert await until(stream, 6, heard) == b"hello "


async def test_what_is_no_link(site: Site) -> None:
    seen = site.heard()
    link, other = await share(site), await share(site, 8081)
    token = token_of(link)
    told = set()
    for host, sent in (
        (host_of(link), ""),
        (host_of(link), "vmpool_share="),
        (host_of(link), "vmpool_share=" + token[:-1] + ("A" if token[-1] != "A" else "B")),
        (host_of(link), "vmpool_share=" + token_of(other)),
        (host_of(other), "vmpool_share=" + token),
        (host_of(link).replace(f"-{site.vm}-", "-77-"), "vmpool_share=" + token),
        ("www.localhost", "vmpool_share=" + token),
    ):
        async with Visitor(site, host) as visitor:
            answer = await visitor.get(
                f"/?{sent}", {"Authorization": f"Bearer {site.key}", "X-Request-ID": "r"}
            )
            problem(answer, 401, "share_invalid")
            del answer.headers["date"]
            told.add((answer.text, str(sorted(answer.headers.items()))))
    assert len(told) == 1  # nothing tells one from another
    assert seen.heads == []


async def test_at_a_links_host_there_is_no_api_and_at_the_api_no_link(site: Site) -> None:
    site.heard(b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nmine")
    link = await share(site)
    async with Visitor(site, host_of(link)) as visitor:
        for path in ("/api/vms", "/health", "/metrics", "/openapi.json"):
            sent = {"X-VMPool-Share": token_of(link), "Authorization": f"Bearer {site.key}"}
            assert (await visitor.get(path, sent)).text == "mine"
    async with client_of(str(site.client.base_url)) as nobody:
        sent = {"X-VMPool-Share": token_of(link), "Cookie": f"vmpool_share={token_of(link)}"}
        problem(
            await nobody.get(f"{site.path()}?vmpool_share={token_of(link)}", headers=sent),
            401,
            "unauthenticated",
        )


async def test_revoked_and_expired(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.api.ports.carrying.ALLOWED_EVERY", 0.05)
    site.inside(Socket())
    first, kept = await share(site), await share(site, 9090, expires_in=7200)
    stream = await anyio.connect_tcp(*site.address)
    asked = (f"GET /?vmpool_share={token_of(first)} HTTP/1.1", f"Host: {host_of(first)}", *UPGRADE, "", "")
    await stream.send("\r\n".join(asked).encode())
    await head_of(stream)
    await site.caller.ok("DELETE", f"/api/vms/{site.vm}/shares/8080", status=204)
    with anyio.fail_after(10), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
        while True:
            await stream.receive()  # what is open is cut too
    await stream.aclose()
    async with Visitor(site, host_of(first)) as visitor:
        problem(await visitor.get(f"/?vmpool_share={token_of(first)}"), 401, "share_invalid")
    site.heard(port=9090)
    async with Visitor(site, host_of(kept)) as visitor:
        assert (await visitor.get(f"/?vmpool_share={token_of(kept)}")).text == "hi"
        await site.caller.ok("POST", f"/api/vms/{site.vm}/stop")
        problem(await visitor.get(f"/?vmpool_share={token_of(kept)}"), 409, "vm_not_running")
        await site.caller.ok("DELETE", f"/api/vms/{site.vm}", status=204)
        problem(await visitor.get(f"/?vmpool_share={token_of(kept)}"), 401, "share_invalid")


async def test_making_one_is_managing_and_is_recorded_without_its_token(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    link = await share(site, expires_in=60)
    entry = next(one for one in await site.caller.ok("GET", "/api/audit") if one["action"] == "share_port")
    assert entry["target"] == f"vm_id={site.vm}, port=8080" and entry["facts"] == {"expires_in": 60}
    path = f"/api/vms/{site.vm}/shares/8080"
    problem(await site.other.call("POST", path), 404, "vm_not_found")
    problem(await site.other.call("DELETE", path), 404, "vm_not_found")
    await site.caller.refused("POST", path, {"expires_in": 7201}, status=422, code="invalid_request")
    await site.caller.refused("POST", path, {"expires_in": 0}, status=422, code="invalid_request")
    _, secret = await site.services.store.keys.create(1, "runs", scopes={Scope.READ, Scope.EXECUTE})
    async with client_of(str(site.client.base_url), secret) as runs:
        problem(await runs.post(path), 403, "insufficient_scope")
    site.heard()
    async with Visitor(site, host_of(link)) as visitor:
        await visitor.get(f"/?vmpool_share={token_of(link)}")
        await visitor.get("/?vmpool_share=wrong")
    refused = [one for one in await site.caller.ok("GET", "/api/audit") if one["status"] == 401]
    assert len(refused) == 1
    assert token_of(link) not in caplog.text


class TestGuessing:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"rates": RateSettings(failures=0.001, failures_burst=3)})

    async def test_is_slowed_down_and_links_that_work_are_not(self, site: Site) -> None:
        site.heard()
        link = await share(site)
        async with Visitor(site, host_of(link)) as visitor:
            for _ in range(3):
                problem(await visitor.get("/?vmpool_share=guess"), 401, "share_invalid")
            answer = await visitor.get("/?vmpool_share=guess")
            problem(answer, 429, "rate_limited")
            assert answer.headers["retry-after"]
            assert (await visitor.get(f"/?vmpool_share={token_of(link)}")).text == "hi"


@pytest.mark.parametrize(
    ("url", "host", "label"),
    [
        ("https://*.vms.example.org", b"p1-2-a.vms.example.org", "p1-2-a"),
        ("https://*.vms.example.org/", b"P1-2-A.VMS.example.ORG:443", "p1-2-a"),
        ("http://*.localhost:8321", b"x.localhost:8321", "x"),
        ("http://*.localhost:8321", b"localhost:8321", None),
        ("http://*.localhost:8321", b"127.0.0.1:8321", None),
        ("http://*.localhost:8321", b"[::1]:8321", None),
        ("https://*.vms.example.org", b"vms.example.org", None),
        ("https://*.vms.example.org", b".vms.example.org", None),
        ("https://*.vms.example.org", b"a.b.vms.example.org", None),
        ("https://*.vms.example.org", b"a.evms.example.org", None),
        ("https://*.vms.example.org", b"\xff.vms.example.org", "ÿ"),
        ("https://*.vms.example.org", b"", None),
    ],
)
def test_a_host_is_below_the_domain_or_not(url: str, host: bytes, label: str | None) -> None:
    assert ShareSite.of(url).label(host) == label


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vms.example.org",
        "https://vms.example.org",
        "ftp://*.x.org",
        "https://*.x.org/path",
        "https://*.x:y",
        "https://*.",
    ],
)
def test_what_is_no_such_url(url: str) -> None:
    with pytest.raises(InvalidRequest, match=r"ports\.share_url"):
        ShareSite.of(url)


async def test_over_tls_the_cookie_is_nobody_elses_to_set() -> None:
    site = ShareSite.of("https://*.vms.example.org")
    assert site.secure and site.cookie == "__Host-vmpool_share"
    assert site.link("p1-2-a", "t") == "https://p1-2-a.vms.example.org/?vmpool_share=t"
