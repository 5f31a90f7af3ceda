"""The traps of the table: the server reads, writes and keeps what a VM has prepared for it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from tests.captured import run
from tests.conformance.abuse.arena import Arena
from tests.conformance.abuse.families.traps import TRAPS
from tests.conformance.abuse.host import Bait
from tests.conformance.abuse.prelude import PRELUDE
from tests.conformance.abuse.table import Trap
from tests.conformance.backends import Power
from tests.conformance.box import ENV, HOME, Box, limited, next_id, open_box, shell_spec, source_spec
from vmpool.agent import open_client
from vmpool.backends.base import MachineKey, SupportsSnapshot
from vmpool.domain import LANGUAGES
from vmpool.errors import AgentRefused, InvalidRequest, SnapshotTooLarge, VMPoolError

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.requires(Power.REAL_PROGRAMS),
]
TABLE = {trap.name: trap for trap in TRAPS.programs if isinstance(trap, Trap)}
PLACE = f"{HOME}/trap"
ODD = (
    *("to-the-host", "by-proc", "deep/upwards", "circle", "shadow", "pipe", "endless", "memory", "environ"),
    *("everything", "socket", "no-entry", "no-entry/x", "deep"),
)
LIMIT = 1 << 20
_KEYS = iter(range(9000, 9100))


async def prepared(arena: Arena, box: Box, name: str, *, background: bool = False) -> None:
    """Lay the trap of this name."""
    spec = source_spec(
        LANGUAGES["python"], PRELUDE + TABLE[name].prepare, number := next_id(), background=background
    )
    spec = replace(spec, env={**spec.env, **arena.bait.environment()})
    captured = await run(box.client, number, spec)
    assert captured.stdout.endswith(b"held\n"), captured


PASSWD = Path("/etc/passwd").read_bytes()


def untouched(bait: Bait) -> None:
    assert bait.path.read_text() == bait.secret
    assert Path("/etc/passwd").read_bytes() == PASSWD


async def read(box: Box, path: str) -> bytes:
    """What the file has, or nothing where it is refused; whatever it is, there is an answer soon."""
    with anyio.fail_after(30):
        try:
            return await box.client.read_file(path, limit=LIMIT)
        except (AgentRefused, InvalidRequest):
            return b""


def test_each_trap_has_a_test() -> None:
    assert {f"test_{name.replace('-', '_')}" for name in TABLE} <= set(globals())


async def test_odd_files_read(arena: Arena) -> None:
    async with open_box(arena.world, MachineKey(next(_KEYS))) as box:
        await prepared(arena, box, "odd-files-read")
        for name in ODD:
            assert (await read(box, f"{PLACE}/{name}")).strip(b"\0") == b"", name
        for path in (
            str(arena.bait.path),
            f"/../..{arena.bait.path}",
            "/proc/self/environ",
            "/dev/zero",
            "/dev/tty",
        ):
            assert (await read(box, path)).strip(b"\0") == b"", path
        odd = os.fsdecode(b"\xff\n-rf")
        assert await read(box, f"{PLACE}/{odd}") == b"odd"
        assert await box.output("echo alive") == "alive"
        await box.backend.destroy(box.key)


async def test_odd_files_written(arena: Arena) -> None:
    async with open_box(arena.world, MachineKey(next(_KEYS))) as box:
        await prepared(arena, box, "odd-files-written")
        paths = [f"{PLACE}/{name}" for name in ODD]
        paths += [str(arena.bait.path), f"{HOME}/../../../..{arena.bait.path}", "/etc/passwd", "/dev/null"]
        paths += [
            "/proc/1/mem",
            "/proc/sys/kernel/core_pattern",
            "/.vmpool/vmpool-agent",
            "/run/vmpool/agent.sock",
        ]
        paths += ["x" * 256, "/".join(["x" * 200] * 30), "", "a\0b", PLACE]
        for path in paths:
            with anyio.fail_after(30):
                try:
                    await box.client.write_file(path, b"abuse")
                except VMPoolError:
                    continue
            assert path in ("/etc/passwd", f"{PLACE}/shadow"), path  # its own copy, where it has one
        await to_thread.run_sync(untouched, arena.bait)
        assert await box.output("echo alive") == "alive"
        await box.backend.destroy(box.key)


async def test_files_that_change(arena: Arena) -> None:
    async with open_box(arena.world, MachineKey(next(_KEYS))) as box:
        await prepared(arena, box, "files-that-change", background=True)
        seen = {await read(box, f"{HOME}/changing") for _ in range(100)}
        assert seen <= {b"", b"plain"}
        await box.backend.destroy(box.key)


async def test_holes_kept(arena: Arena) -> None:
    key, spec = MachineKey(next(_KEYS)), limited(arena.world.spec(), disk=64)
    async with open_box(arena.world, key, spec) as box:
        assert isinstance(box.backend, SupportsSnapshot)
        await prepared(arena, box, "holes-kept")
        try:
            stored = await box.backend.snapshot(key, "holes")
            assert stored.size <= spec.limits.disk << 20
        except SnapshotTooLarge as error:
            assert error.context["limit"] == spec.limits.disk << 20
            assert await box.backend.list_snapshots() == []
        assert await box.output("rm hole-*; echo alive") == "alive"
        await box.backend.snapshot(key, "whole")
        for reference in ("holes", "whole"):
            await box.backend.delete_snapshot(reference)
        await box.backend.destroy(key)


async def test_odd_files_kept(arena: Arena) -> None:
    key, again = MachineKey(number := next(_KEYS)), MachineKey(number, 2)
    reference = f"odd-{number}"
    async with open_box(arena.world, key) as box:
        if not isinstance(box.backend, SupportsSnapshot):
            pytest.fail("every real backend keeps snapshots")
        await prepared(arena, box, "odd-files-kept")
        listing = (
            "cd trap && find . ! -type s ! -type p -printf '%p %y %m %s %l\n' 2>/dev/null | sort; cat closed"
        )
        before = (await box.sh(listing)).stdout
        stored = await box.backend.snapshot(key, reference)
        assert 0 <= stored.size < 1 << 28
        await box.backend.destroy(key)
        await box.backend.create(again, replace(arena.world.spec(), snapshot=reference))
        async with open_client(lambda: box.backend.dial(again)) as client:
            after = await run(client, next_id(), shell_spec(listing, env=ENV))
        assert after.stdout == before != b""
        assert arena.bait.secret.encode() not in before
        await box.backend.destroy(again)
        await box.backend.delete_snapshot(reference)
