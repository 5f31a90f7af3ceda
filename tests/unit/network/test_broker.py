"""The broker between real sockets: programs and servers on loopback, a resolver of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from vmpool.domain.network import NetworkPolicy, NetworkVerdict
from vmpool.network.broker import Broker
from vmpool.network.limits import NetworkLimits
from vmpool.network.relay import CHUNK
from vmpool.network.resolver import system_lookup

from .site import Site, echo, everything, hold, serving

pytestmark = pytest.mark.anyio

SOCKS = b"\x05\x01\x00"
GRANTED = b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)


def connect(host: str, port: int) -> bytes:
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def socks(host: str, port: int) -> bytes:
    return SOCKS + b"\x05\x01\x00\x03" + bytes((len(host),)) + host.encode() + port.to_bytes(2, "big")


def answering(*parts: bytes, after: bytes = b"\r\n\r\n") -> Callable[[SocketStream], Awaitable[None]]:
    """A server that waits for `after` in what comes and then sends these."""

    async def handle(stream: SocketStream) -> None:
        seen = b""
        while after not in seen:
            seen += await stream.receive()
        for part in parts:
            await stream.send(part.replace(b"<seen>", seen))

    return handle


# -- asking, each way


async def test_connect_carries_bytes_both_ways_and_ends_each_by_itself(site: Site) -> None:
    async with serving(echo) as port:
        site.names["echo.test"] = ["127.0.0.1"]
        said = await site.says(connect("echo.test", port) + b"at once")
        assert said == b"HTTP/1.1 200 Connection established\r\n\r\nat once"
    entry = await site.entry()
    assert (entry.via, entry.host, entry.port, entry.address) == ("connect", "echo.test", port, "127.0.0.1")
    assert (entry.verdict, entry.rule) == (NetworkVerdict.ALLOWED, "admit 127.0.0.0/8")
    assert (entry.bytes_up, entry.bytes_down) == (7, 7)
    assert site.broker.journal.totals.open == 0


async def test_socks_by_name_and_by_either_kind_of_address(site: Site) -> None:
    async with serving(echo) as port, serving(echo, "::1") as port6:
        site.names["echo.test"] = ["127.0.0.1"]
        number, number6 = port.to_bytes(2, "big"), port6.to_bytes(2, "big")
        assert await site.says(socks("echo.test", port) + b"x") == GRANTED + b"x"
        assert await site.says(SOCKS + b"\x05\x01\x00\x01\x7f\0\0\x01" + number + b"x") == GRANTED + b"x"
        loopback6 = b"\x05\x01\x00\x04" + bytes(15) + b"\x01"
        assert await site.says(SOCKS + loopback6 + number6 + b"x") == GRANTED + b"x"
    assert {entry.address for entry in await site.entries(3)} == {"127.0.0.1", "::1"}


async def test_a_direct_connection_speaks_at_once(site: Site) -> None:
    async with serving(echo) as port:
        site.names["echo.test"] = ["127.0.0.1"]
        site.direct = ("Echo.test", port)
        assert await site.says(b"x") == b"x"
    assert (await site.entry()).via == "direct"


async def test_a_real_client_through_the_proxy(site: Site) -> None:
    answer = answering(
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", b"hello", after=b"body"
    )
    async with serving(answer) as port:
        site.names["web.test"] = ["127.0.0.1"]
        async with httpx.AsyncClient(proxy=f"http://127.0.0.1:{site.port}") as client:
            for _ in range(2):  # the second on a connection of its own
                got = await client.post(f"http://web.test:{port}/", content=b"the body")
                assert (got.status_code, got.text, got.headers["connection"]) == (200, "hello", "close")


async def test_what_follows_one_request_reaches_nobody(site: Site) -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\n<seen>")) as port:
        asked = f"GET http://127.0.0.1:{port}/1 HTTP/1.1\r\nCookie: a\r\n\r\n".encode()
        said = await site.says(asked + asked.replace(b"/1", b"/2"))
    assert b"GET /1 HTTP/1.1" in said
    assert b"/2" not in said


async def test_interim_answers_pass_and_another_protocol_does_not(site: Site) -> None:
    parts = (
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
    )
    async with (
        serving(answering(*parts)) as port,
        serving(answering(b"HTTP/1.1 101 Up\r\n\r\n")) as switching,
    ):
        get = "GET http://127.0.0.1:{}/ HTTP/1.1\r\n\r\n"
        said = await site.says(get.format(port).encode())
        assert said == b"".join(parts).replace(b"204 No\r\n", b"204 No\r\nConnection: close\r\n")
        assert (await site.says(get.format(switching).encode())).startswith(b"HTTP/1.1 502 ")


async def test_an_answer_that_breaks_off_does_not_look_whole(site: Site) -> None:
    async def breaks(stream: SocketStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await anyio.sleep(0.05)
        stream._transport.abort()  # type: ignore[attr-defined]

    async def silent(stream: SocketStream) -> None:
        await stream.receive()

    async with serving(breaks) as port, serving(silent) as mute:
        said = await site.says(f"GET http://127.0.0.1:{mute}/ HTTP/1.1\r\n\r\n".encode())
        assert said.startswith(b"HTTP/1.1 502 No answer from the destination\r\n")
        said = await site.says(f"GET http://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n".encode())
        assert b"half" in said
    assert (await site.entries(2))[0].verdict is NetworkVerdict.FAILED


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"\x16\x03\x01\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"a" * (40 << 10), b"HTTP/1.1 431 "),
        (b"\x04\x01", b"HTTP/1.1 400"),
        (b"\x05\x01\x02", b"\x05\xff"),
        (b"", b""),
    ],
)
async def test_what_is_no_request_is_told_so(site: Site, sent: bytes, answer: bytes) -> None:
    said = await site.says(sent + (b"\r\n\r\n" if sent[:1] == b"\x04" else b""))
    assert said.startswith(answer)
    assert (await site.entry()).via == "proxy"


# -- judging


async def test_refusals_say_why_and_what_to_do(site: Site) -> None:
    site.begin(NetworkPolicy(allow=("good.test",)), admit=())
    site.names["good.test"] = ["127.0.0.1"]
    said = await site.says(connect("bad.test", 443))
    assert said.startswith(b"HTTP/1.1 403 Forbidden by the network policy of this VM\r\n")
    assert b"bad.test:443 is not in the VM's allow list. Change the VM's lists with" in said
    assert site.looked_up == []  # not even a lookup leaves
    said = await site.says(b"GET http://good.test/ HTTP/1.1\r\n\r\n")
    assert b"good.test:80: good.test is 127.0.0.1, which is in 127.0.0.0/8 (loopback, RFC 1122)." in said
    assert await site.says(socks("bad.test", 443)) == b"\x05\x00" + b"\x05\x02\x00\x01" + bytes(6)
    site.direct = ("bad.test", 443)
    async with site.program() as stream:
        assert await everything(stream) == b"<reset>"
    entries = await site.entries(4)
    assert [entry.rule for entry in entries] == [
        "not in allow",
        "range 127.0.0.0/8",
        "not in allow",
        "not in allow",
    ]
    assert {entry.verdict for entry in entries} == {NetworkVerdict.REFUSED}
    assert entries[1].address == "127.0.0.1"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
async def test_a_name_that_leads_inside_is_refused(site: Site, address: str) -> None:
    site.begin(NetworkPolicy(allow=("inside.test", "*")), admit=())
    site.names["inside.test"] = [address]
    assert (await site.says(connect("inside.test", 80))).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("name", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "localhost", "127.0.0.1."])
async def test_other_spellings_of_loopback_are_refused(site: Site, name: str) -> None:
    site.lookup = system_lookup  # type: ignore[method-assign]
    site.begin(admit=())
    assert (await site.says(connect(name, 80))).startswith(b"HTTP/1.1 403 ")


async def test_a_name_that_changes_between_looking_and_dialling_gains_nothing(site: Site) -> None:
    """The rebinding attack: public when it is judged, loopback when it is dialled."""
    answers = [["127.0.0.2"], ["127.0.0.1"]]
    site.lookup = lambda name: answers.pop(0) if len(answers) > 1 else answers[0]  # type: ignore[method-assign]
    site.begin(admit=("127.0.0.2",))
    async with serving(echo) as inside:  # on 127.0.0.1 only
        said = await site.says(connect("rebind.test", inside))
        assert said.startswith(b"HTTP/1.1 502 Connection refused")  # dialled where it was judged
        said = await site.says(connect("rebind.test", inside))
        assert said.startswith(b"HTTP/1.1 403 ")
    first, second = await site.entries(2)
    assert (first.address, second.address) == ("127.0.0.2", "127.0.0.1")


async def test_of_several_addresses_only_those_that_may_are_dialled(site: Site) -> None:
    site.begin(admit=("127.0.0.3",))
    site.names["mixed.test"] = ["127.0.0.1", "::1", "127.0.0.3"]
    async with serving(echo, "127.0.0.3") as port:
        assert (await site.says(connect("mixed.test", port) + b"x")).endswith(b"x")
    assert (await site.entry()).address == "127.0.0.3"


async def test_an_address_that_does_not_answer_costs_a_moment_only(site: Site) -> None:
    site.names["two.test"] = ["127.0.0.4", "127.0.0.1"]
    async with serving(echo) as port:
        assert (await site.says(connect("two.test", port) + b"x")).endswith(b"x")


async def test_failures_are_told_apart(site: Site) -> None:
    async with serving(echo) as port:
        pass  # nobody listens there now
    assert (await site.says(connect("nowhere.test", 80))).startswith(b"HTTP/1.1 502 Name not resolved")
    assert (await site.says(connect("127.0.0.1", port))).startswith(b"HTTP/1.1 502 Connection refused")
    assert await site.says(socks("127.0.0.1", port)) == b"\x05\x00\x05\x05\x00\x01" + bytes(6)
    assert [entry.rule for entry in await site.entries(3)] == ["unresolved", "econnrefused", "econnrefused"]


# -- the policy changes, limits


async def test_a_connection_that_is_no_longer_allowed_is_cut(site: Site) -> None:
    site.names |= {"a.test": ["127.0.0.1"], "b.test": ["127.0.0.1"]}
    async with (
        serving(hold) as port,
        site.program(connect("a.test", port)) as one,
        site.program(connect("b.test", port)) as other,
    ):
        for stream in (one, other):
            while not (await stream.receive()).endswith(b"here"):
                pass
        site.broker.change(NetworkPolicy(deny=("a.test",)))
        assert await everything(one) == b"<reset>"
        entry = await site.entry()
        assert (entry.host, entry.verdict, entry.rule) == ("a.test", NetworkVerdict.CUT, "deny a.test")
        assert site.broker.journal.totals.open == 1
        assert (await site.says(connect("a.test", port))).startswith(b"HTTP/1.1 403 ")


async def test_so_many_connections_at_once(site: Site) -> None:
    site.begin(NetworkPolicy(max_connections=2))
    async with serving(hold) as port, site.program(connect("127.0.0.1", port)) as one:
        async with site.program(connect("127.0.0.1", port)) as other:
            await one.receive()
            await other.receive()
            said = await site.says(connect("127.0.0.1", port))
            assert said.startswith(b"HTTP/1.1 429 Limit of this VM reached (max_connections)\r\n")
            assert b"Retry-After: 1\r\n" in said
        assert (await site.entries(2))[-1].verdict is NetworkVerdict.ALLOWED
        async with site.program(connect("127.0.0.1", port)) as third:
            assert (await third.receive()).startswith(b"HTTP/1.1 200 ")


async def test_connections_that_say_nothing_are_bounded_too(site: Site) -> None:
    site.begin(NetworkPolicy(max_connections=1))
    async with site.program(), site.program(), site.program() as third:
        assert await everything(third) == b"<reset>"


async def test_so_many_connections_a_second(site: Site) -> None:
    site.begin(NetworkPolicy(connections_per_second=2))
    async with serving(echo) as port:
        said = [await site.says(connect("127.0.0.1", port)) for _ in range(5)]
    assert [b"200" in one[:12] for one in said[:2]] == [True, True]
    assert any(b"(connections_per_second)" in one for one in said)


async def test_the_servers_own_registry_may_be_asked_as_often_as_it_answers(site: Site) -> None:
    site.begin(NetworkPolicy(connections_per_second=2))
    async with serving(echo) as port:

        async def registry(_: int) -> SocketStream:
            return await anyio.connect_tcp("127.0.0.1", port)

        site.group.vms["packages.pool"] = registry
        said = [await site.says(connect("packages.pool.vm", 80)) for _ in range(5)]
    assert [b"200" in one[:12] for one in said] == [True] * 5


async def test_so_many_bytes_in_all(site: Site) -> None:
    site.begin(NetworkPolicy(max_bytes=1000))
    async with serving(echo) as port:
        async with site.program(connect("127.0.0.1", port)) as stream:
            await stream.receive()
            with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
                for _ in range(1000):
                    await stream.send(b"x" * 100)
                    await stream.receive()
        entry = await site.entry()
        assert (entry.verdict, entry.rule) == (NetworkVerdict.CUT, "max_bytes")
        assert entry.bytes_down + entry.bytes_up <= 1100
        assert b"(max_bytes)" in await site.says(connect("127.0.0.1", port))
    site.begin(NetworkPolicy(max_bytes=1000)).bytes_spent = 1000  # under an earlier server
    assert b"(max_bytes)" in await site.says(connect("127.0.0.1", 80))


async def test_a_connection_on_which_nothing_moves_is_ended(site: Site) -> None:
    site.begin(limits=NetworkLimits(idle_timeout=0.2))
    async with serving(hold) as port, site.program(connect("127.0.0.1", port)) as stream:
        assert (await everything(stream)).endswith(b"here<reset>")
    assert (await site.entry()).rule == "idle_timeout"


async def test_a_guest_that_does_not_read_holds_up_the_server_and_no_memory(site: Site) -> None:
    sent = 0

    async def flood(stream: SocketStream) -> None:
        nonlocal sent
        while True:
            await stream.send(bytes(CHUNK))
            sent += CHUNK

    site.begin(limits=NetworkLimits(idle_timeout=1.0))
    async with serving(flood) as port, site.program(connect("127.0.0.1", port)):
        entry = await site.entry()
    assert entry.rule == "idle_timeout"
    assert sent < 64 << 20  # what the sockets' own buffers hold, and not more


# -- groups


async def test_vms_of_a_group_are_reached_by_name(site: Site) -> None:
    async with serving(echo) as port:
        site.begin(admit=())

        async def way_in(number: int) -> SocketStream:
            assert number == 8000
            return await anyio.connect_tcp("127.0.0.1", port)

        site.group.vms["db"] = way_in
        assert (await site.says(connect("db", 8000) + b"x")).endswith(b"x")
        assert (await site.says(socks("db.vm", 8000) + b"x")).endswith(b"x")
        assert site.looked_up == []
        first, _ = await site.entries(2)
        assert (first.host, first.address, first.rule) == ("db", None, "group")
        async with site.program(connect("db.vm", 8000)) as stream:
            await stream.receive()
            site.group.vms.clear()
            site.broker.review()
            assert await everything(stream) == b"<reset>"
        assert (await site.entry()).rule == "no such VM in the group"


async def test_a_vms_name_is_never_resolved_and_can_be_denied(site: Site) -> None:
    assert b"no running VM of this VM's group" in await site.says(connect("db.vm", 80))
    assert site.looked_up == []

    async def refuses(port: int) -> SocketStream:
        raise ConnectionRefusedError(111, "nobody listens")

    site.group.vms["db"] = refuses
    assert (await site.says(connect("db.vm", 80))).startswith(b"HTTP/1.1 502 Connection refused")
    site.broker.change(NetworkPolicy(deny=("*.vm",)))
    assert (await site.says(connect("db.vm", 80))).startswith(b"HTTP/1.1 403 ")


# -- the resolver and the journal


async def test_those_who_ask_at_once_share_a_lookup_and_an_answer_is_used_again(site: Site) -> None:
    site.begin(keep=60)
    site.names["echo.test"] = ["127.0.0.1"]
    async with serving(echo) as port:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(site.says, connect("echo.test", port))
        await site.says(connect("echo.test", port))
    assert site.looked_up == ["echo.test"]


async def test_a_vm_that_asks_for_slow_names_holds_a_few_threads_only(site: Site) -> None:
    go_on = threading.Event()

    def slow(name: str) -> list[str]:
        site.looked_up.append(name)
        if name.startswith("slow"):
            go_on.wait(10)
        return ["127.0.0.1"]

    site.lookup = slow  # type: ignore[method-assign]
    site.begin()
    slow_one = site.broker
    try:
        async with serving(echo) as port, anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(site.says, connect(f"slow{number}.test", port))
            # all twelve are this broker's: one that came later would be the other VM's
            while site.accepted < 12 or len(site.looked_up) < 4:  # noqa: ASYNC110 - threads set it
                await anyio.sleep(0.005)
            site.broker = Broker(slow_one.around, NetworkPolicy(), site.group)  # another VM's
            assert (await site.says(connect("quick.test", port) + b"x")).endswith(b"x")
            assert site.looked_up.count("quick.test") == 1
            assert len(site.looked_up) == 5
            said = await site.says(connect("slow0.test", port))  # its own lookup, not the slow VM's
            assert b"not resolved within 2 seconds" in said
            go_on.set()
    finally:
        go_on.set()


async def test_the_journal_is_bounded_and_says_what_it_left_out(site: Site) -> None:
    site.begin(admit=(), limits=NetworkLimits(connections_per_second=10_000))
    for _ in range(503):
        await site.says(b"\x05\x01\x02")
    entries = await site.entries(500)
    assert len(entries) == 500
    await site.says(b"\x05\x01\x02")
    assert (await site.entry()).skipped == 3
    assert site.broker.journal.totals.refused == 504
