"""The client's files against the fake agent and against the real binary, and what a hostile one may say."""

from __future__ import annotations

import os
import stat

import pytest

from tests.unit.agent.agents import Agent
from vmpool.agent import Client
from vmpool.agent.codec import ProtocolError
from vmpool.agent.file_values import FileStatus, entry_of, packed_entry
from vmpool.agent.files import PART_BYTES
from vmpool.errors import AgentRefused, InvalidRequest

pytestmark = pytest.mark.anyio
DATA = os.urandom(3 * PART_BYTES + 17)


def at(agent: Agent, name: str) -> bytes:
    return os.fsencode(f"{agent.home}/{name}")


async def put(client: Client, path: bytes, data: bytes, **more: object) -> int:
    outgoing = await client.files.put(path, **more)  # type: ignore[arg-type]
    try:
        for begin in range(0, len(data), 100_003):
            await outgoing.send(data[begin : begin + 100_003])
        await outgoing.finish()
    finally:
        await outgoing.aclose()
    return outgoing.size


async def get(client: Client, path: bytes, **more: int) -> bytes:
    incoming = await client.files.get(path, **more)
    try:
        return b"".join([piece async for piece in incoming.pieces()])
    finally:
        await incoming.aclose()


async def test_content_in_and_out(agent: Agent, client: Client) -> None:
    path = at(agent, "d/big")
    assert await put(client, path, DATA, parents=True, mode=0o640, mtime_ns=10**18 + 7) == 0
    found = await client.files.stat(path)
    assert (found.mode, found.size, found.mtime_ns) == (stat.S_IFREG | 0o640, len(DATA), 10**18 + 7)
    assert await get(client, path) == DATA
    assert await get(client, path, offset=5, length=PART_BYTES) == DATA[5 : 5 + PART_BYTES]
    assert await get(client, path, offset=len(DATA) + 1) == b""
    assert await put(client, path, b"tail", offset=len(DATA) - 2) == len(DATA)
    assert await get(client, path, offset=len(DATA) - 4) == DATA[-4:-2] + b"tail"
    assert await put(client, path, b"") == len(DATA) + 2
    assert await get(client, path) == b""


async def test_names(agent: Agent, client: Client) -> None:
    files = client.files
    await files.make_directory(at(agent, "a/b"), parents=True)
    with pytest.raises(AgentRefused) as refused:
        await files.make_directory(at(agent, "a"))
    assert refused.value.reason == "exists"
    await files.make_directory(at(agent, "a"), existing=True)
    for number in range(2500):
        files.write_soon(at(agent, f"a/b/{number}"), b"x")
    assert len({entry.name async for entry in files.entries(at(agent, "a/b"))}) == 2500
    page, following = await files.page(at(agent, "a/b"), length=3)
    assert len(page) == 3 and following is not None
    await files.move(at(agent, "a/b/1"), at(agent, "a/one"))
    with pytest.raises(AgentRefused) as refused:
        await files.move(at(agent, "a/one"), at(agent, "a/b/2"))
    assert refused.value.reason == "exists"
    await files.move(at(agent, "a/one"), at(agent, "a/b/2"), replace=True)
    await files.change(at(agent, "a/b/2"), mode=0o600, mtime_ns=5)
    found = await files.stat(at(agent, "a/b/2"))
    assert (stat.S_IMODE(found.mode), found.mtime_ns) == (0o600, 5)
    with pytest.raises(AgentRefused) as refused:
        await files.remove(at(agent, "a"))
    assert refused.value.reason == "not_empty"
    await files.remove(at(agent, "a"), tree=True)
    with pytest.raises(AgentRefused) as refused:
        await files.stat(at(agent, "a"))
    assert refused.value.reason == "not_found"


@pytest.mark.parametrize("verb", ["get", "put", "page"])
async def test_what_is_not_there(agent: Agent, client: Client, verb: str) -> None:
    with pytest.raises(AgentRefused) as refused:
        await getattr(client.files, verb)(at(agent, "no/where"))
    assert refused.value.reason == "not_found"


@pytest.mark.parametrize("path", [b"", b"a\0b", b"x" * 4096])
async def test_what_is_no_path(agent: Agent, client: Client, path: bytes) -> None:
    for verb in (client.files.stat, client.files.get, client.files.put, client.files.remove):
        with pytest.raises(InvalidRequest):
            await verb(path)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0"])
def test_names_a_guest_makes_up(name: bytes) -> None:
    status = FileStatus(stat.S_IFREG, 1, 2)
    with pytest.raises(ProtocolError):
        entry_of(packed_entry(name, status))


def test_records_of_entries() -> None:
    for status in (FileStatus(stat.S_IFREG | 0o644, 1 << 40, -7), FileStatus(stat.S_IFLNK, 3, 0, b"\xff/to")):
        for name in (b"plain", b"\xff\n"):
            found = entry_of(packed_entry(name, status))
            assert (found.name, found.status) == (name, status)
    for cut in (b"", bytes(31), packed_entry(b"name", FileStatus(0, 0, 0))[:-1]):
        with pytest.raises(ProtocolError):
            entry_of(cut)
