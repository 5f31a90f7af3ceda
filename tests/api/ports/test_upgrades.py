"""Connections that leave HTTP: WebSockets and the like to servers in VMs, and tunnels."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from vmpool.backends.fake.network import Program
from vmpool.domain.tunnel import END, Pieces, piece

from ..caller import problem
from .conftest import BROKEN, Site, client_of, head_of

pytestmark = pytest.mark.anyio

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
TUNNEL = ("Connection: Upgrade", "Upgrade: vmpool-tunnel")
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Own: 1\r\n\r\n"
)


class Socket:
    """A server in the VM that switches and says back what it hears, with a greeting right behind its head."""

    def __init__(self) -> None:
        self.head = b""
        self.ended = anyio.Event()

    async def __call__(self, program: Program) -> None:
        self.head, rest = await head_of(program)
        try:
            await program.send(SWITCHING + b"hello " + rest)
            async for heard in program:
                await program.send(heard)
            await program.send(b" bye")
            await program.aclose()
        except BROKEN:
            pass
        self.ended.set()


async def all_of(stream: Any) -> bytes:
    heard = b""
    try:
        while True:
            heard += await stream.receive()
    except anyio.EndOfStream:
        return heard


async def until(stream: Any, count: int, heard: bytes = b"") -> bytes:
    with anyio.fail_after(10):
        while len(heard) < count:
            heard += await stream.receive()
    return heard


async def test_what_follows_a_101_is_passed_as_it_is(site: Site) -> None:
    inside = Socket()
    site.inside(inside)
    stream = await site.raw(f"GET {site.path('/chat?room=1')} HTTP/1.1", *UPGRADE)
    async with stream:
        head, heard = await head_of(stream)
        assert head.startswith(b"HTTP/1.1 101 ")
        lines = head.lower().split(b"\r\n")
        assert b"upgrade: websocket" in lines and b"connection: upgrade" in lines and b"x-own: 1" in lines
        assert await until(stream, 6, heard) == b"hello "
        anything = bytes(range(256)) * 1000
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.send, anything)
            assert await until(stream, len(anything)) == anything
        await stream.send_eof()
        with anyio.fail_after(10):
            assert await all_of(stream) == b" bye"
            await inside.ended.wait()
    asked = inside.head.lower().split(b"\r\n")
    assert asked[0] == b"get /chat?room=1 http/1.1"
    assert {b"connection: upgrade", b"upgrade: websocket", b"sec-websocket-version: 13"} <= set(asked)
    assert site.key.encode() not in inside.head


async def test_what_is_said_before_the_answer_is_not_lost(site: Site) -> None:
    site.inside(Socket())
    stream = await site.raw(f"GET {site.path()} HTTP/1.1", *UPGRADE, body=b"early")
    async with stream:
        await stream.send(b" bird")
        _, heard = await head_of(stream)
        assert await until(stream, 16, heard) == b"hello early bird"


async def test_a_client_that_vanishes_is_noticed(site: Site) -> None:
    inside = Socket()
    site.inside(inside)
    stream = await site.raw(f"GET {site.path()} HTTP/1.1", *UPGRADE)
    await head_of(stream)
    await stream.aclose()
    with anyio.fail_after(10):
        await inside.ended.wait()


@pytest.mark.parametrize(
    "early", [b"", b"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"]
)
async def test_a_server_that_declines_answers_and_the_connection_stays_http(site: Site, early: bytes) -> None:
    seen = site.heard()
    again = early.replace(b"{path}", site.path("/second").encode()).replace(b"{key}", site.key.encode())
    stream = await site.raw(f"GET {site.path('/first')} HTTP/1.1", *UPGRADE, body=again)
    async with stream:
        head, rest = await head_of(stream)
        assert head.startswith(b"HTTP/1.1 200")
        rest = await until(stream, 2, rest)
        if not early:
            later = b"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n"
            await stream.send(
                later.replace(b"{path}", site.path("/second").encode()).replace(b"{key}", site.key.encode())
            )
        with anyio.fail_after(10):
            while rest.count(b"hi") < 2:
                rest += await stream.receive()
    assert [head.split()[1] for head in seen.heads] == [b"/first", b"/second"]


async def test_other_routes_take_no_notice_of_an_upgrade(site: Site) -> None:
    stream = await site.raw("GET /api/vms HTTP/1.1", *UPGRADE)
    async with stream:
        head, _ = await head_of(stream)
        assert head.startswith(b"HTTP/1.1 200")


# -- tunnels


async def tunnel(site: Site, port: int = 8080) -> tuple[SocketStream, bytes]:
    """The connection, and what came behind the head."""
    stream = await site.raw(f"GET /api/vms/{site.vm}/tunnels/{port} HTTP/1.1", *TUNNEL)
    head, rest = await head_of(stream)
    assert head.startswith(b"HTTP/1.1 101 "), head
    assert b"upgrade: vmpool-tunnel" in head.lower()
    return stream, rest


async def test_bytes_go_both_ways_and_each_ends_by_itself(site: Site) -> None:
    async def answers(program: Program) -> None:
        heard = b""
        async for part in program:
            heard += part
        await program.send(b"%d bytes" % len(heard))  # after the other direction has ended
        await program.aclose()

    site.inside(answers)
    stream, rest = await tunnel(site)
    async with stream:
        await stream.send(b"".join(piece(b"x" * 70_000) for _ in range(10)) + END)
        pieces = Pieces()
        parts = list(pieces.feed(rest))
        with anyio.fail_after(10):
            while not pieces.ended:
                parts += pieces.feed(await stream.receive())
            assert b"".join(parts) == b"700000 bytes"
            assert await all_of(stream) == b""


async def test_a_reset_in_the_vm_is_no_end(site: Site) -> None:
    async def resets(program: Program) -> None:
        await program.send(b"some")
        program.reset()

    site.inside(resets)
    stream, rest = await tunnel(site)
    async with stream:
        with anyio.fail_after(10):
            rest += await all_of(stream)
        pieces = Pieces()
        list(pieces.feed(rest))
        assert not pieces.ended


async def test_a_client_that_goes_without_an_end_resets_nothing_but_its_own(site: Site) -> None:
    ended = anyio.Event()

    async def waits(program: Program) -> None:
        try:
            await program.receive()
        except BROKEN:
            ended.set()

    site.inside(waits)
    stream, _ = await tunnel(site)
    await stream.aclose()
    with anyio.fail_after(10):
        await ended.wait()
    site.heard()
    assert (await site.client.get(site.path())).text == "hi"


async def test_many_tunnels_at_once(site: Site) -> None:
    site.inside(Socket())
    done = []

    async def one(number: int) -> None:
        stream, rest = await tunnel(site)
        async with stream:
            await stream.send(piece(b"%d\r\n\r\n" % number))
            rest = await until(stream, 4 + len(SWITCHING) + 6, rest)
            done.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(60):
            tasks.start_soon(one, number)
    assert sorted(done) == list(range(60))


async def test_there_are_so_many_at_once(site: Site) -> None:
    async def waits(program: Program) -> None:
        await anyio.sleep_forever()

    site.inside(waits)
    streams = [(await tunnel(site))[0] for _ in range(128)]
    answer = await site.client.get(site.path())
    assert problem(answer, 429, "too_many_connections").retryable and answer.headers["retry-after"]
    for stream in streams:
        await stream.aclose()


async def test_tunnel_refusals(site: Site) -> None:
    path = f"/api/vms/{site.vm}/tunnels/8080"
    answer = await site.client.get(path)
    problem(answer, 426, "upgrade_required")
    assert answer.headers["upgrade"] == "vmpool-tunnel"
    asked = {"Connection": "Upgrade", "Upgrade": "websocket"}
    problem(await site.client.get(path, headers=asked), 426, "upgrade_required")
    asked = {"Connection": "Upgrade", "Upgrade": "vmpool-tunnel"}
    problem(await site.client.get(path, headers=asked), 502, "nothing_listens")
    problem(await site.other.call("GET", path, headers=asked), 404, "vm_not_found")
    async with client_of(str(site.client.base_url)) as nobody:
        problem(await nobody.get(path, headers=asked), 401, "unauthenticated")
    await site.caller.ok("POST", f"/api/vms/{site.vm}/stop")
    problem(await site.client.get(path, headers=asked), 409, "vm_not_running")


async def test_a_tunnel_ends_with_its_key(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.api.ports.carrying.ALLOWED_EVERY", 0.05)
    site.inside(Socket())
    key, secret = await site.services.store.keys.create(1, "soon gone")
    site.key = secret
    stream, _ = await tunnel(site)
    async with stream:
        await site.caller.ok("DELETE", f"/api/keys/{key.id}", status=204)
        with anyio.fail_after(10):
            await all_of(stream)


async def test_the_servers_end_ends_them(site: Site) -> None:
    site.inside(Socket())
    stream, _ = await tunnel(site)
    websocket = await site.raw(f"GET {site.path()} HTTP/1.1", *UPGRADE)
    await head_of(websocket)
    site.services.closing.set()
    async with stream, websocket:
        with anyio.fail_after(10):
            await all_of(stream)


async def test_a_switch_is_counted_as_one(site: Site) -> None:
    site.inside(Socket())
    stream = await site.raw(f"GET {site.path()} HTTP/1.1", *UPGRADE)
    await head_of(stream)
    await stream.aclose()
    with anyio.fail_after(10):
        while 'status="101"' not in (await site.client.get("/metrics")).text:  # noqa: ASYNC110 - is polled
            await anyio.sleep(0.05)
