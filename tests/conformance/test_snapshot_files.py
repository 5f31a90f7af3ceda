"""Snapshots as files, through a whole pool on every backend; refused where they are not what they say."""

from __future__ import annotations

import tarfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from io import BytesIO

import anyio
import anyio.to_thread
import pytest

from tests.conformance import damage
from tests.conformance.backends import Power, World
from tests.conformance.damage import Harm
from tests.conformance.pool import USER, Serve, make, run
from vmpool.backends.base import SupportsSnapshot
from vmpool.domain import ExecutionRequest, Limits, VMState
from vmpool.errors import (
    Conflict,
    SnapshotDamaged,
    SnapshotFileRefused,
    SnapshotMismatch,
    SnapshotNotFound,
    SnapshotTooLarge,
)
from vmpool.pool.requests import VMRequest
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.snapshot_file import Layer, Manifest, Reader, Writer
from vmpool.tar import END, Entry, Kind, header, padding

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


async def exported(pool: VMPoolManager, vm: str, snapshot: int) -> bytes:
    export = await pool.export_snapshot(USER, vm, snapshot)
    try:
        data = b"".join([piece async for piece in export.pieces])
    finally:
        await export.aclose()
    assert len(data) == export.length
    return data


async def imported(pool: VMPoolManager, vm: str, data: bytes, name: str | None = None) -> int:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 70_000):
            yield data[at : at + 70_000]

    return (await pool.import_snapshot(USER, vm, name, pieces())).id


async def said(pool: VMPoolManager, vm: str, command: str) -> str:
    result = await pool.execute(USER, vm, ExecutionRequest(command=command, timeout=30))
    assert result.outcome is not None and result.outcome.exit_code == 0, result
    return result.outcome.output


def opened(data: bytes) -> tuple[Manifest, dict[int, bytes]]:
    """The parts of a file."""
    reader = Reader()
    layers: dict[int, bytes] = {}
    manifest, number = None, 0
    for item in reader.feed(data):
        if isinstance(item, Manifest):
            manifest = item
        elif isinstance(item, Layer):
            number = item.number
            layers[number] = b""
        else:
            layers[number] += item
    reader.close()
    assert manifest is not None
    return manifest, layers


def closed(manifest: Manifest, layers: dict[int, bytes]) -> bytes:
    """A file of these parts, right but for what is in it."""
    manifest = replace(manifest, layers=tuple(len(layers[number]) for number in sorted(layers)))
    writer = Writer(manifest)
    data = writer.begin()
    for number in sorted(layers):
        data += writer.layer(Layer(number, len(layers[number]))) + writer.content(layers[number])
    return data + writer.end()


async def test_out_and_into_another_vm(serve: Serve, world: World) -> None:
    async with serve() as pool:
        await make(pool)
        await run(pool, "mkdir -p sub && echo one > sub/note")
        first = await pool.snapshot(USER, "box", "first")
        await run(pool, "echo two > sub/note")
        data = await exported(pool, "box", first.id)
        assert data == await exported(pool, "box", first.id)
        manifest, _ = opened(data)
        assert (manifest.name, manifest.vm, manifest.base) == ("first", "box", first.base)
        assert await run(pool, "cat sub/note") == "two\n"

        await pool.create_vm(USER, VMRequest("other", "python"))
        kept = await imported(pool, "other", data)
        found = await pool.get_snapshot(USER, "other", kept)
        assert (found.name, found.parent_id, found.base) == ("first", None, first.base)
        assert found.seal is not None
        await pool.restore(USER, "other", kept)
        assert await said(pool, "other", "cat sub/note; hostname") == "one\nother\n"
        made = await pool.fork(USER, "other", 1)
        assert await said(pool, made[0].name, "cat sub/note") == "one\n"

        again = await imported(pool, "other", data)
        assert (await pool.get_snapshot(USER, "other", again)).name != "first"
        with pytest.raises(Conflict):
            await imported(pool, "other", data, "first")
        out = await exported(pool, "other", kept)
        assert await imported(pool, "box", out, "back")
        with pytest.raises(SnapshotNotFound):
            await exported(pool, "box", kept)
        for name in ("box", "other", made[0].name):
            await pool.delete_vm(USER, name)


@pytest.mark.requires(Power.REAL_PROGRAMS, Power.HOST_KERNEL)  # gVisor shows one name less afterwards
async def test_everything_of_a_file_comes_along(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        await run(
            pool,
            "echo x > file; ln file second; ln -s /nowhere link; mkdir -m 700 closed; chmod 4755 file;"
            "printf y > \"$(printf 'odd\\n\\377 name')\"; truncate -s 3M holes;"
            "touch -d 2001-02-03T04:05:06.789 old;"
            "mkfifo pipe; rm -f .bashrc .profile; echo z > .hidden",
        )
        look = "stat -c '%n %a %h %F %s %u' $(ls -A | grep -v odd) | sort; ls -A | wc -l; date -r old +%s"
        before = await run(pool, look)
        data = await exported(pool, "box", (await pool.snapshot(USER, "box", "all")).id)
        await pool.create_vm(USER, VMRequest("other", "python"))
        await pool.restore(USER, "other", await imported(pool, "other", data))
        after = await said(pool, "other", look)
        assert after.replace(" 4755 ", " 755 ") == before.replace(" 4755 ", " 755 ")
        assert await said(pool, "other", "cat odd*; du -k holes | cut -f1") in ("y0\n", "y3072\n")
        for name in ("box", "other"):
            await pool.delete_vm(USER, name)


async def test_a_snapshot_knows_the_one_it_came_after(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)

        async def taken(name: str) -> int:
            await run(pool, f"echo {name} > note")
            return (await pool.snapshot(USER, "box", name)).id

        async def parents() -> dict[str, str | None]:
            found = await pool.list_snapshots(USER, "box")
            names = {one.id: one.name for one in found}
            return {one.name: None if one.parent_id is None else names[one.parent_id] for one in found}

        first, second = await taken("first"), await taken("second")
        await pool.fork(USER, "box", 1, ["copy"])
        third = await taken("third")
        await pool.restore(USER, "box", first)
        await taken("branch")
        await taken("leaf")
        tree = {"first": None, "second": "first", "third": "second", "branch": "first", "leaf": "branch"}
        assert await parents() == tree
        await pool.delete_snapshot(USER, "box", second)
        del tree["second"]
        assert await parents() == {**tree, "third": "first"}
        await pool.delete_snapshot(USER, "box", first)
        assert await parents() == {"third": None, "branch": None, "leaf": "branch"}
        await pool.restore(USER, "box", third)
        assert await run(pool, "cat note") == "third\n"
        assert (await pool.snapshot(USER, "copy", "own")).parent_id is None
        for name in ("box", "copy"):
            await pool.delete_vm(USER, name)


@pytest.mark.parametrize("harm", Harm)
async def test_a_damaged_one_is_refused_before_anything_is_touched(
    serve: Serve, world: World, harm: Harm
) -> None:
    async with serve() as pool:
        await make(pool)
        await run(pool, f"echo '{damage.MARK.decode()}' > note")
        kept = await pool.snapshot(USER, "box", "kept")
        await run(pool, "echo more > second")  # engines keep layers that are the same only once
        good = await pool.snapshot(USER, "box", "good")
        await run(pool, "echo now > note")
        async with world.backend() as backend:
            reference = (await pool.get_snapshot(USER, "box", kept.id)).reference
            await anyio.to_thread.run_sync(damage.do, harm, world, backend, reference)
        before = await pool.get_vm(USER, "box")
        with pytest.raises(SnapshotDamaged):
            await pool.restore(USER, "box", kept.id)
        with pytest.raises(SnapshotDamaged):
            await exported(pool, "box", kept.id)
        after = await pool.get_vm(USER, "box")
        assert (after.state, after.generation) == (VMState.RUNNING, before.generation)
        assert await run(pool, "cat note") == "now\n"
        await pool.restore(USER, "box", good.id)
        assert await run(pool, "cat note") == f"{damage.MARK.decode()}\n"
        await pool.delete_snapshot(USER, "box", kept.id)
        await pool.delete_vm(USER, "box")


# --- files that are not what they say


def entry(name: bytes, kind: Kind = Kind.FILE, content: bytes = b"", **more: object) -> bytes:
    made = Entry(name, kind, len(content), **more)  # type: ignore[arg-type]
    return header(made) + content + padding(len(content))


def device(name: bytes, major: int, minor: int, type: bytes = tarfile.BLKTYPE) -> bytes:
    return entry(name, Kind.OTHER, type=type, device=(major, minor))


HOME = {"fake": b"home/user/"}
HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "a name that leads out": lambda at: entry(at + b"../../../../../../etc/cron.d/x", content=b"x"),
    "an absolute name": lambda at: entry(b"/etc/cron.d/x", content=b"x"),
    "behind a link": lambda at: (
        entry(at + b"l", Kind.LINK, target=b"/etc") + entry(at + b"l/cron.d-x", content=b"x")
    ),
    "a second name of a file of the host": lambda at: entry(
        at + b"h", Kind.SECOND_NAME, target=b"../../etc/passwd"
    ),
    "a second name behind a link": lambda at: (
        entry(at + b"l", Kind.LINK, target=b"/etc")
        + entry(at + b"h", Kind.SECOND_NAME, target=at + b"l/passwd")
    ),
    "a disk": lambda at: device(at + b"disk", 8, 0),
    "memory": lambda at: device(at + b"mem", 1, 1, tarfile.CHRTYPE),
    "setuid": lambda at: entry(at + b"su", content=b"x", mode=0o4755, owner=(0, 0)),
    "setgid": lambda at: entry(at + b"sg", content=b"x", mode=0o2755, owner=(0, 5)),
    "an owner of the host's": lambda at: entry(at + b"x", owner=(1_000_000, 0)),
    "a capability": lambda at: entry(at + b"x", attributes={"security.capability": b"\1\0\0\2"}),
    "an overlay's redirect": lambda at: entry(
        at + b"d/", Kind.DIRECTORY, attributes={"trusted.overlay.redirect": b"/etc"}
    ),
    "no archive": lambda at: b"\xff" * 512,
    "more than it announces": lambda at: header(Entry(at + b"x", Kind.FILE, 1 << 40)),
}
"""Layers, given the directory of the VM's user in them."""


@pytest.mark.parametrize("what", HOSTILE)
async def test_what_no_vm_may_have_is_refused(serve: Serve, world: World, what: str) -> None:
    async with serve() as pool:
        await pool.create_vm(USER, VMRequest("box", "python", limits=Limits(disk=64)))
        await run(pool, "echo mine > note")
        kept = await pool.snapshot(USER, "box", "kept")
        manifest, layers = opened(await exported(pool, "box", kept.id))
        at = _home(layers[1])
        hostile = layers[1].removesuffix(END).rstrip(b"\0")
        hostile += bytes(-len(hostile) % 512) + HOSTILE[what](at) + END
        with pytest.raises((SnapshotFileRefused, SnapshotTooLarge)):
            await imported(pool, "box", closed(manifest, {1: hostile}), "hostile")
        await _nothing_is_left(pool, world, kept.id)
        assert await run(pool, "cat note") == "mine\n"
        await pool.delete_vm(USER, "box")


def _home(layer: bytes) -> bytes:
    """Where `note` lies in a layer."""
    with tarfile.open(fileobj=BytesIO(layer)) as archive:
        (name,) = (name for name in archive.getnames() if name.endswith("/note"))
    return name.removesuffix("note").encode()


async def _nothing_is_left(pool: VMPoolManager, world: World, *kept: int) -> None:
    assert [one.id for one in await pool.list_snapshots(USER, "box")] == list(kept)
    async with world.backend() as backend:
        assert isinstance(backend, SupportsSnapshot)
        assert len(await backend.list_snapshots()) == len(kept)
    if world.directory is not None and (world.directory / "snapshots").is_dir():
        assert len(list((world.directory / "snapshots").iterdir())) == len(kept)


async def test_a_file_that_is_not_whole_is_refused(serve: Serve, world: World) -> None:
    async with serve() as pool:
        await pool.create_vm(USER, VMRequest("box", "python", limits=Limits(disk=64)))
        await run(pool, "echo mine > note")
        kept = await pool.snapshot(USER, "box", "kept")
        data = await exported(pool, "box", kept.id)
        manifest, layers = opened(data)
        middle = data.index(layers[1]) + len(layers[1]) // 2
        for broken in (
            b"",
            b"not a snapshot",
            bytes(2048),
            data[:300],
            data[:middle],
            data[:-1024],
            data[: data.rindex(b"checksums.json")],
            data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            data.replace(b'"format": 1', b'"format": 9'),
            data.replace(b"checksums.json", b"checksumz.json"),
        ):
            with pytest.raises(SnapshotFileRefused):
                await imported(pool, "box", broken)
            await _nothing_is_left(pool, world, kept.id)
        with pytest.raises(SnapshotMismatch):
            await imported(pool, "box", closed(replace(manifest, base="another"), layers))
        with pytest.raises(SnapshotFileRefused):
            await imported(pool, "box", closed(replace(manifest, template="go"), layers))
        big = layers[1].removesuffix(END).rstrip(b"\0")
        big += bytes(-len(big) % 512)
        big += entry(_home(layers[1]) + b"big", content=b"\1" * (140 << 20)) + END
        with pytest.raises(SnapshotTooLarge):
            await imported(pool, "box", closed(manifest, {1: big}))
        await _nothing_is_left(pool, world, kept.id)
        await pool.delete_vm(USER, "box")
