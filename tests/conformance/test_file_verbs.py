"""Files of a machine from outside, on every backend: whole, exact, as its user, and never outside of it."""

from __future__ import annotations

import os
import stat

import pytest

from tests.conformance.backends import Power
from tests.conformance.box import Box
from vmpool.agent.files import AgentFiles
from vmpool.errors import AgentRefused

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
DATA = os.urandom(5_000_003)
ODD = (b"\xff\xfe", b"new\nline", b"-rf", b" ", "ü".encode(), b"x" * 255)


async def put(files: AgentFiles, path: bytes, data: bytes, **more: object) -> None:
    outgoing = await files.put(path, **more)  # type: ignore[arg-type]
    try:
        await outgoing.send(data)
        await outgoing.finish()
    finally:
        await outgoing.aclose()


async def get(files: AgentFiles, path: bytes, **more: int) -> bytes:
    incoming = await files.get(path, **more)
    try:
        return b"".join([piece async for piece in incoming.pieces()])
    finally:
        await incoming.aclose()


async def refusal(work: object) -> str:
    with pytest.raises(AgentRefused) as refused:
        await work  # type: ignore[misc]
    return refused.value.reason


async def test_content_is_exact(box: Box) -> None:
    files = box.client.files
    await put(files, b"exact/big", DATA, parents=True, mode=0o600)
    assert await get(files, b"exact/big") == DATA
    assert await get(files, b"/home/user/exact/big", offset=1_000_000, length=77) == DATA[1_000_000:1_000_077]
    await put(files, b"exact/big", b"more", offset=len(DATA))
    assert (await files.stat(b"exact/big")).size == len(DATA) + 4
    assert await get(files, b"exact/big", offset=len(DATA) - 2) == DATA[-2:] + b"more"


async def test_a_machine_that_is_busy_is_no_hindrance(own_box: Box) -> None:
    await put(own_box.client.files, b"f", DATA)
    assert await own_box.output("echo fine") == "fine"
    assert await get(own_box.client.files, b"f") == DATA


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_files_are_the_users(box: Box) -> None:
    files = box.client.files
    await put(files, b"owned/f", b"x", parents=True, mode=0o751, mtime_ns=10**18 + 1)
    await files.make_directory(b"owned/d", mode=0o711)
    shown = await box.output("cd owned; find f d . -maxdepth 0 -printf '%u %m\\n'")
    assert shown == "user 751\nuser 711\nuser 755"
    assert (await files.stat(b"owned/f")).mtime_ns == 10**18 + 1


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_names_of_any_bytes(box: Box) -> None:
    files = box.client.files
    for name in ODD:
        await put(files, b"odd/" + name, name, parents=True)
    found = {entry.name: entry.status.size async for entry in files.entries(b"odd")}
    assert found == {name: len(name) for name in ODD}
    assert await box.output("cd odd; ls | wc -l") == str(len(ODD) + 1)  # one has a line of its own
    for name in ODD:
        assert await get(files, b"odd/" + name) == name
        await files.move(b"odd/" + name, b"odd/moved")
        await files.remove(b"odd/moved")
    await files.remove(b"odd")


@pytest.mark.requires(Power.REAL_PROGRAMS, Power.HOST_KERNEL)
async def test_links_lead_where_they_lead_inside(box: Box) -> None:
    """What they name of the host is what the VM has of that name, and removing one removes nothing else."""
    files = box.client.files
    await box.output(
        "mkdir links; cd links; echo kept > file; ln -s file to-file; ln -s .. up; ln -s / root;"
        "ln -s loop loop; ln -s /proc/1/root/etc/passwd proc; ln -s ../../../etc/passwd far"
    )
    assert await get(files, b"links/to-file") == b"kept\n"
    inside = await box.output("cat /etc/passwd")
    for name in (b"far", b"root/etc/passwd"):
        assert (await get(files, b"links/" + name)).decode().strip() == inside
    assert await refusal(files.get(b"links/loop")) == "not_a_file"
    assert await refusal(files.get(b"links/root/proc/self/mem")) in ("not_a_file", "permission")
    assert (await files.stat(b"links/root")).target == b"/"
    await files.remove(b"links", tree=True)
    assert await box.output("ls -d / /home/user") == "/\n/home/user"


async def test_what_is_refused(box: Box) -> None:
    files = box.client.files
    await put(files, b"refused/f", b"x", parents=True)
    assert await refusal(files.stat(b"refused/none")) == "not_found"
    assert await refusal(files.get(b"refused")) == "not_a_file"
    assert await refusal(files.page(b"refused/f")) == "not_a_directory"
    assert await refusal(files.make_directory(b"refused")) == "exists"
    assert await refusal(files.remove(b"refused")) == "not_empty"


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_the_user_has_no_other_rights_than_its_own(box: Box) -> None:
    files = box.client.files
    await put(files, b"rights/f", b"x", parents=True, mode=0)
    assert await refusal(files.get(b"rights/f")) == "permission"
    assert await refusal(files.put(b"rights/f")) == "permission"
    for path in (b"/proc/sys/kernel/hostname", b"/proc/1/environ"):
        assert await refusal(files.put(path)) in ("permission", "not_a_file", "not_found")
    await files.remove(b"rights", tree=True)


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_special_files_are_never_waited_for(box: Box) -> None:
    files = box.client.files
    await box.output("mkdir special; mkfifo special/fifo")
    assert await refusal(files.get(b"special/fifo")) == "not_a_file"
    assert await refusal(files.put(b"special/fifo")) == "not_a_file"
    assert await refusal(files.get(b"/dev/zero")) == "not_a_file"
    found = [entry async for entry in files.entries(b"special")]
    assert [(entry.name, stat.S_ISFIFO(entry.status.mode)) for entry in found] == [(b"fifo", True)]
    await files.remove(b"special", tree=True)


@pytest.mark.requires(Power.REAL_PROGRAMS)
async def test_a_large_directory(box: Box) -> None:
    files = box.client.files
    await box.output(
        "mkdir -p large/d && cd large/d && i=0; while [ $i -lt 3000 ]; do : > f$i; i=$((i+1)); done"
    )
    assert len({entry.name async for entry in files.entries(b"large/d")}) == 3000
    await files.remove(b"large", tree=True)
    assert await refusal(files.stat(b"large")) == "not_found"
