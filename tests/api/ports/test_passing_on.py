"""HTTP to a server in a VM, with a key: both ways as it comes, and no more of it than is its business."""

from __future__ import annotations

import anyio
import httpx
import pytest

from vmpool.backends.fake.network import Program
from vmpool.domain import Scope

from ..caller import problem
from .conftest import LINE, Site, client_of, head_of

pytestmark = pytest.mark.anyio


async def test_a_request_and_its_answer(site: Site) -> None:
    seen = site.heard(
        b"HTTP/1.1 418 I'm a teapot\r\nX-Kind: pot\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n"
        b"Content-Type: text/html\r\nContent-Length: 5\r\n\r\nshort"
    )
    answer = await site.client.post(
        site.path("/a%20b//c?q=1&q=%2F"), content=b"sent", headers={"X-Mine": "1", "X-API-Key": "theirs"}
    )
    assert (answer.status_code, answer.text) == (418, "short")
    assert answer.headers["x-kind"] == "pot"
    assert answer.headers.get_list("set-cookie") == [
        f"{pair}; Path=/api/vms/{site.vm}/ports/8080/" for pair in ("a=1", "b=2")
    ]
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert len(answer.headers.get_list("x-content-type-options")) == 1
    assert seen.heads[0].split(LINE)[0] == b"POST /a%20b//c?q=1&q=%2F HTTP/1.1"
    assert seen.bodies == [b"sent"]
    assert seen.header("x-mine") == ["1"] and seen.header("x-api-key") == ["theirs"]
    assert seen.header("x-forwarded-for") == ["127.0.0.1"]
    assert seen.header("x-forwarded-host") == [f"127.0.0.1:{site.address[1]}"]
    assert seen.header("host") == ["localhost:8080"]
    assert site.key.encode() not in seen.heads[0]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("rest", ["", "/", "/x"])
async def test_every_method(site: Site, method: str, rest: str) -> None:
    if method == "HEAD" and not rest:
        pytest.skip("a path without a slash is for those who type it")
    seen = site.heard()
    answer = await site.client.request(method, site.path(rest))
    assert answer.status_code == 200
    assert answer.content == (b"" if method == "HEAD" else b"hi")
    assert seen.heads[0].startswith(f"{method} {rest or '/'} HTTP/1.1".encode())


async def test_a_program_that_uses_the_name_finds_the_same(site: Site) -> None:
    site.heard()
    assert (await site.client.get("/api/vms/box/ports/8080/")).text == "hi"


async def test_several_requests_over_one_connection(site: Site) -> None:
    seen = site.heard()
    for turn in range(5):
        assert (await site.client.post(site.path(f"/{turn}"), content=b"x" * turn)).text == "hi"
    assert seen.bodies == [b"x" * turn for turn in range(5)]


async def test_bodies_are_longer_than_the_apis_may_be_and_pass_as_they_come(site: Site) -> None:
    """Each piece is sent only once the one before it has come back."""
    back: list[int] = []
    total = 40

    async def echo(program: Program) -> None:
        _, rest = await head_of(program)
        await program.send(b"HTTP/1.1 200 OK\r\n\r\n" + rest)
        try:
            async for piece in program:
                await program.send(piece)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass

    site.inside(echo)
    stream = await site.raw(f"POST {site.path()} HTTP/1.1", "Transfer-Encoding: chunked", "Connection: close")
    async with stream:
        head, heard = await head_of(stream)
        assert head.startswith(b"HTTP/1.1 200")
        for turn in range(total):
            piece = bytes([65 + turn % 26]) * 50_000
            await stream.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            with anyio.fail_after(10):
                while heard.count(piece[:1]) < 50_000:
                    heard += await stream.receive()
            back.append(len(heard))
            heard = b""
        await stream.send(b"0\r\n\r\n")
    assert len(back) == total


async def test_a_slow_reader_holds_up_the_server_in_the_vm(site: Site) -> None:
    sent = 0

    async def endless(program: Program) -> None:
        nonlocal sent
        await head_of(program)
        await program.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await program.send(b"x" * 65536)
                sent += 65536
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            stopped.set()

    stopped = anyio.Event()
    site.inside(endless)
    stream = await site.raw(f"GET {site.path()} HTTP/1.1")
    await head_of(stream)
    last = -1
    with anyio.fail_after(20):
        while sent != last:
            last = sent
            await anyio.sleep(0.3)
    assert 0 < sent < 16 << 20  # what sockets and windows hold
    await stream.aclose()
    with anyio.fail_after(10):
        await stopped.wait()  # and that nobody reads any more is noticed


async def test_an_answer_before_the_request_has_ended(site: Site) -> None:
    async def refuses(program: Program) -> None:
        await head_of(program)
        await program.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await program.aclose()

    site.inside(refuses)
    stream = await site.raw(f"POST {site.path()} HTTP/1.1", "Content-Length: 100000000", body=b"x" * 1000)
    async with stream:
        head, rest = await head_of(stream)
        assert head.startswith(b"HTTP/1.1 413") and rest == b"big"


async def test_expectations_are_met_here(site: Site) -> None:
    seen = site.heard()
    stream = await site.raw(f"POST {site.path()} HTTP/1.1", "Content-Length: 4", "Expect: 100-continue")
    async with stream:
        head, _ = await head_of(stream)
        assert head == b"HTTP/1.1 100 Continue"
        await stream.send(b"body")
        head, _ = await head_of(stream)
        assert head.startswith(b"HTTP/1.1 200")
    assert seen.bodies == [b"body"] and seen.header("expect") == []


async def test_answers_of_servers_that_say_little(site: Site) -> None:
    site.heard(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
    assert (await site.client.get(site.path())).text == "until the end"
    site.heard(b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n")
    assert (await site.client.get(site.path())).status_code == 204
    site.heard(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n")
    answer = await site.client.get(site.path())
    assert (answer.status_code, answer.headers["etag"], answer.content) == (304, "x", b"")
    site.heard(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (await site.client.get(site.path())).status_code == 200
    site.heard(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n"
    )
    assert (await site.client.get(site.path())).text == "abcde"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_answer(site: Site, answer: bytes) -> None:
    site.heard(answer)
    found = problem(await site.client.get(site.path()), 502, "bad_port_answer")
    assert found.context == {"port": 8080} and not found.retryable


@pytest.mark.parametrize("framing", [b"Content-Length: 100", b"Transfer-Encoding: chunked"])
async def test_an_answer_that_breaks_off_is_cut(
    site: Site, framing: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Never shorter and complete; and it is no fault of the server's for its log."""
    site.heard(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n5\r\nabcde\r\n")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await site.client.get(site.path())
    assert "Traceback" not in caplog.text and "Exception" not in caplog.text


async def test_refusals(site: Site) -> None:
    found = problem(await site.client.get(site.path()), 502, "nothing_listens")
    assert found.retryable and found.context == {"port": 8080}
    for port in ("0", "65536", "x", "-1"):
        answer = await site.client.get(f"/api/vms/{site.vm}/ports/{port}/")
        assert "port" in problem(answer, 422, "invalid_request").detail
    site.heard()
    problem(await site.client.get(f"/api/vms/{site.vm}%2Fports%2F8080/x"), 404, "not_found")
    problem(await site.other.call("GET", site.path()), 404, "vm_not_found")
    problem(await site.other.call("GET", "/api/vms/box/ports/8080/"), 404, "vm_not_found")
    await site.caller.ok("POST", f"/api/vms/{site.vm}/stop")
    problem(await site.client.get(site.path()), 409, "vm_not_running")


async def test_it_takes_a_key_that_may_execute(site: Site) -> None:
    seen = site.heard()
    async with client_of(str(site.client.base_url)) as nobody:
        problem(await nobody.get(site.path()), 401, "unauthenticated")
    _, secret = await site.services.store.keys.create(1, "reader", scopes={Scope.READ, Scope.MANAGE})
    async with client_of(str(site.client.base_url), secret) as reader:
        problem(await reader.get(site.path()), 403, "insufficient_scope")
    assert seen.heads == []


async def test_a_servers_own_401_is_not_in_the_audit_log(site: Site) -> None:
    site.heard(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
    assert (await site.client.get(site.path())).status_code == 401
    assert not [entry for entry in await site.caller.ok("GET", "/api/audit") if entry["status"] == 401]


async def test_when_the_vm_goes_so_does_the_answer(site: Site) -> None:
    async def waits(program: Program) -> None:
        await head_of(program)
        await program.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await anyio.sleep_forever()

    site.inside(waits)
    stream = await site.raw(f"GET {site.path()} HTTP/1.1")
    async with stream:
        await head_of(stream)
        await site.caller.ok("DELETE", f"/api/vms/{site.vm}", status=204)
        with anyio.fail_after(10):
            try:
                while data := await stream.receive():
                    assert not data.endswith(b"0\r\n\r\n")
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass


async def test_a_key_that_is_revoked_ends_what_it_began(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.api.ports.carrying.ALLOWED_EVERY", 0.05)
    reset = anyio.Event()

    async def waits(program: Program) -> None:
        await head_of(program)
        await program.send(b"HTTP/1.1 200 OK\r\n\r\nsome")
        try:
            await program.receive()
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            reset.set()

    site.inside(waits)
    key, secret = await site.services.store.keys.create(1, "soon gone")
    site.key = secret
    stream = await site.raw(f"GET {site.path()} HTTP/1.1")
    async with stream:
        await head_of(stream)
        await site.caller.ok("DELETE", f"/api/keys/{key.id}", status=204)
        with anyio.fail_after(10):
            await reset.wait()
