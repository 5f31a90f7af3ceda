"""A VM's network through the API: programs are the test's own, in a fake machine; servers are on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream

from tests.unit.network.site import echo, serving
from vmpool.api.services import Services
from vmpool.backends.base import MachineKey
from vmpool.backends.fake import FakeBackend
from vmpool.backends.fake.network import FakeNetwork, Program
from vmpool.settings import LimitSettings, Network, Settings

from .caller import Caller

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A server whose operator admits loopback."""
    return Settings(
        state_dir=tmp_path / "state",
        backend="fake",
        limits=LimitSettings(host_memory=64_000),
        network=Network(admit=("127.0.0.0/8",), max_connections=9, log_entries=20),
    )


@pytest.fixture
def inside(services: Services) -> Callable[[Any], Awaitable[FakeNetwork]]:
    """The network of a VM as its programs see it, once its agent listens."""

    async def of(vm: Any) -> FakeNetwork:
        backend = services.pool._backend
        assert isinstance(backend, FakeBackend)
        agent = backend.host.machines[MachineKey(vm["id"])].agent
        assert agent is not None
        with anyio.fail_after(5):
            while not agent.network.listen:  # noqa: ASYNC110 - as a program in the VM would
                await anyio.sleep(0.005)
        return agent.network

    return of


Inside = Callable[[Any], Awaitable[FakeNetwork]]


async def said(program: ByteStream, text: bytes = b"") -> bytes:
    """What comes back to a program that says this and no more."""
    if text:
        await program.send(text)
    await program.send_eof()
    answer = b""
    with anyio.fail_after(5):
        try:
            async for chunk in program:
                answer += chunk
        except anyio.BrokenResourceError:
            answer += b"<reset>"
    return answer


async def log_of(caller: Caller, vm: int | str, count: int) -> Any:
    """The log, once it has so many entries."""
    with anyio.fail_after(5):
        while True:
            found = await caller.ok("GET", f"/api/vms/{vm}/network/log")
            if len(found) >= count:
                return found
            await anyio.sleep(0.01)


async def test_a_vm_reaches_what_it_may_and_the_log_says_so(owner: Caller, inside: Inside) -> None:
    vm = await owner.create("box", network_policy={"deny": ["127.0.0.2"]})
    assert vm["network"] == "filtered"
    network = await inside(vm)
    async with serving(echo) as port:
        program = await network.open(listener="proxy")
        assert (await said(program, b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n\r\nx" % port)).endswith(b"\r\n\r\nx")
    refused = await network.open(host="127.0.0.2", port=443)
    assert await said(refused) == b"<reset>"
    newest, oldest = await log_of(owner, "box", 2)
    assert newest | {"id": 0, "time": "", "seconds": 0} == {
        "id": 0, "time": "", "seconds": 0, "via": "direct", "host": "127.0.0.2", "port": 443,
        "address": "127.0.0.2", "verdict": "refused", "rule": "deny 127.0.0.2",
        "bytes_up": 0, "bytes_down": 0, "skipped": 0,
    }  # fmt: skip
    assert (oldest["verdict"], oldest["via"], oldest["bytes_up"]) == ("allowed", "connect", 1)
    found = await owner.ok("GET", "/api/vms/box/network")
    assert (found["use"]["allowed"], found["use"]["refused"], found["use"]["bytes_used"]) == (1, 1, 2)
    assert found["limits"] == {"max_connections": 9, "connections_per_second": 100, "max_bytes": None}
    metrics = (await owner.call("GET", "/metrics")).text
    assert 'vmpool_network_connections_total{verdict="refused"} 1' in metrics
    assert 'vmpool_network_bytes_total{direction="up"} 1' in metrics


async def test_the_log_is_paged_and_bounded_and_outlives_the_vm(owner: Caller, inside: Inside) -> None:
    vm = await owner.create("box", network_policy={"deny": ["*"]})
    network = await inside(vm)
    for number in range(1, 26):
        await said(await network.open(host=f"h{number}.test", port=80))
    with anyio.fail_after(5):
        while (await owner.ok("GET", "/api/vms/box/network"))["use"]["refused"] < 25:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    await owner.call("DELETE", "/api/vms/box")
    path, hosts = f"/api/vms/{vm['id']}/network/log?limit=8", []
    while path:
        page = await owner.call("GET", path)
        hosts += [entry["host"] for entry in page.json()]
        path = page.links["next"]["url"] if "next" in page.links else ""
    assert hosts == [f"h{number}.test" for number in range(25, 5, -1)]


async def test_a_policy_is_changed_live_and_kept(owner: Caller, inside: Inside) -> None:
    vm = await owner.create("box")
    network = await inside(vm)
    async with serving(echo) as port:
        program = await network.open(listener="proxy")
        await program.send(b"CONNECT localhost:%d HTTP/1.1\r\n\r\nx" % port)
        while not (await program.receive()).endswith(b"x"):
            pass
        policy = {"allow": ["example.org", "10.0.0.0/8:443"], "group": "lab", "max_bytes": 10**12}
        changed = await owner.ok("PUT", "/api/vms/box/network", policy)
        with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(5):
            await program.receive()
    assert changed["policy"] == {
        **policy, "deny": [], "max_connections": None, "connections_per_second": None,
    }  # fmt: skip
    (entry,) = await log_of(owner, "box", 1)
    assert (entry["verdict"], entry["rule"]) == ("cut", "not in allow")
    await owner.ok("POST", "/api/vms/box/restart")
    assert (await owner.ok("GET", "/api/vms/box/network"))["policy"] == changed["policy"]
    network = await inside(vm)
    assert await said(await network.open(host="localhost", port=80)) == b"<reset>"


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"allow": ["good.org", "bad_/rule"]}, "network_policy.allow.1"),
        ({"deny": ["10.0.0.1/8"]}, "network_policy.deny.0"),
        ({"allow": ["a.org"] * 300}, "allow"),
        ({"group": "Not A Name"}, "network_policy.group"),
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_connections": -1}, "max_connections"),
        ({"alow": []}, "alow"),
    ],
)
async def test_a_policy_that_is_none_is_422_and_changes_nothing(
    owner: Caller, policy: dict[str, object], field: str
) -> None:
    await owner.create("box")
    before = await owner.ok("GET", "/api/vms/box/network")
    refusal = await owner.refused("PUT", "/api/vms/box/network", policy, status=422, code="invalid_request")
    assert refusal.errors is not None
    assert refusal.errors[0].field == field
    assert await owner.ok("GET", "/api/vms/box/network") == before
    body = {"name": "other", "language": "python", "network_policy": policy}
    await owner.refused("POST", "/api/vms/create", body, status=422, code="invalid_request")


async def test_only_a_filtered_network_has_a_policy(owner: Caller, services: Services) -> None:
    vm = await owner.create("box", network="none")
    assert (await owner.ok("GET", "/api/vms/box/network"))["mode"] == "none"
    await owner.refused("PUT", "/api/vms/box/network", {}, status=409, code="conflict")
    body = {"name": "b", "language": "python", "network": "none", "network_policy": {"allow": ["a.org"]}}
    await owner.refused("POST", "/api/vms/create", body, status=422, code="invalid_request")
    backend = services.pool._backend
    assert isinstance(backend, FakeBackend)
    agent = backend.host.machines[MachineKey(vm["id"])].agent
    await owner.execute("box")
    assert agent is not None
    assert not agent.network.listen


# -- groups


@asynccontextmanager
async def web(network: FakeNetwork) -> AsyncIterator[None]:
    """Something listens at port 8000 in the VM."""

    async def greet(program: Program) -> None:
        await program.receive()
        await program.send(b"HTTP/1.1 200 OK\r\n\r\nfrom inside")
        await program.aclose()

    network.servers[8000] = greet
    yield
    del network.servers[8000]


async def test_vms_of_one_group_reach_each_other_and_nobody_else(
    owner: Caller, other: Caller, inside: Inside
) -> None:
    group = {"network_policy": {"group": "lab"}}
    server, client = await owner.create("web", **group), await owner.create("client", **group)
    loner = await owner.create("loner")
    foreign = await other.create("foreign", **group)
    asking = b"GET http://%b:8000/ HTTP/1.1\r\n\r\n"

    async def asks(vm: Any, host: bytes) -> bytes:
        return await said(await (await inside(vm)).open(listener="proxy"), asking % host)

    async with web(await inside(server)):
        assert (await asks(client, b"web")).endswith(b"from inside")
        assert (await asks(client, b"web.vm")).endswith(b"from inside")
        assert b"403 Forbidden" in await asks(loner, b"web.vm")
        assert b"403 Forbidden" in await asks(foreign, b"web.vm")
        assert b"403 Forbidden" in await asks(client, b"foreign.vm")
        assert b"403 Forbidden" in await asks(client, b"loner.vm")
        await owner.ok("PUT", "/api/vms/loner/network", {"group": "lab"})
        assert (await asks(loner, b"web.vm")).endswith(b"from inside")
        await owner.ok("PUT", "/api/vms/web/network", {})
        assert b"403 Forbidden" in await asks(loner, b"web.vm")
        await owner.ok("PUT", "/api/vms/web/network", {"group": "lab"})
    assert b"502 Connection refused" in await asks(client, b"web.vm")
    await owner.ok("POST", "/api/vms/web/stop")
    assert b"403 Forbidden" in await asks(client, b"web.vm")


async def test_leaving_a_group_cuts_what_is_open(owner: Caller, inside: Inside) -> None:
    group = {"network_policy": {"group": "lab"}}
    server, client = await owner.create("web", **group), await owner.create("client", **group)

    async def hold(program: Program) -> None:
        await program.send(b"here")
        await anyio.sleep_forever()

    (await inside(server)).servers[8000] = hold
    program = await (await inside(client)).open(listener="proxy")
    await program.send(b"CONNECT web:8000 HTTP/1.1\r\n\r\n")
    while not (await program.receive()).endswith(b"here"):
        pass
    await owner.ok("PUT", "/api/vms/web/network", {"group": "elsewhere"})
    with pytest.raises(anyio.BrokenResourceError), anyio.fail_after(5):
        await program.receive()
    (entry,) = await log_of(owner, "client", 1)
    assert (entry["verdict"], entry["rule"]) == ("cut", "no such VM in the group")
