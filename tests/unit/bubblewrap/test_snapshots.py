"""Kept states of a VM's files."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from vmpool.backends.base import MachineKey, MachineSpec, MachineState, SupportsSnapshot
from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.host import Grade
from vmpool.domain import Limits
from vmpool.errors import BackendFailed, InvalidRequest, SnapshotMismatch, SnapshotNotFound

from .inside import shell

pytestmark = pytest.mark.anyio
KEY, NEXT = MachineKey(5, 1), MachineKey(5, 2)
SPEC = MachineSpec("box", "bash", Limits(disk=32))


async def restored(backend: BubblewrapBackend, key: MachineKey, reference: str) -> None:
    await backend.create(key, MachineSpec("box", "bash", Limits(disk=32), snapshot=reference))


async def test_the_backend_supports_it(backend: BubblewrapBackend) -> None:
    assert isinstance(backend, SupportsSnapshot)
    assert "snapshot" in (await backend.describe()).capabilities


async def test_files_come_back(backend: BubblewrapBackend) -> None:
    await backend.create(KEY, SPEC)
    await shell(
        backend,
        KEY,
        "echo one > file; ln -s file link; ln file hard; mkdir -m 0 closed; echo s > secret; chmod 0 secret;"
        "truncate -s 20M sparse; mkdir d; touch d/x; touch -d 2001-02-03 old",
    )
    kept = await backend.snapshot(KEY, "first")
    assert kept.reference == "first" and kept.size > 0
    assert await backend.snapshot(KEY, "first") == kept
    await shell(backend, KEY, "echo two > file; rm -rf d closed; touch new")
    await restored(backend, NEXT, "first")
    said = await shell(
        backend,
        NEXT,
        "cat link; echo $(ls); stat -c '%a %h %s' file secret sparse; stat -c %a closed; date -r old +%F;"
        "du -k sparse | cut -f1",
    )
    assert said.text.splitlines() == [
        "one",
        "closed d file hard link old secret sparse",
        "644 2 4",
        "0 1 2",
        "644 1 20971520",
        "0",
        "2001-02-03",
        "0",
    ]
    assert (await shell(backend, KEY, "cat file; ls")).text.startswith("two\n")


async def test_the_system_comes_back(backend: BubblewrapBackend, grade: Grade) -> None:
    """Full root: changes anywhere are part of it, removed files too."""
    await backend.create(KEY, SPEC)
    await shell(backend, KEY, "echo x > /usr/local/bin/x; rm /usr/share/perl5/* -r; echo y > ~/y")
    await backend.snapshot(KEY, "all")
    await restored(backend, NEXT, "all")
    said = await shell(backend, NEXT, "ls ~ /usr/local/bin/x /usr/share/perl5 | tr '\\n' ' '")
    assert "y" in said.text.split()
    assert ("/usr/local/bin/x" in said.text.split()) is (grade is Grade.ROOT)


async def test_a_copy_taken_under_load_is_of_one_moment(backend: BubblewrapBackend) -> None:
    """Two files are written in turn, the second never before the first."""
    await backend.create(KEY, SPEC)
    writer = (
        "nohup python3 -c '\n"
        'a, b = (open(n, "w+") for n in ("a", "b"))\n'
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    for f in (a, b): f.seek(0); f.write(str(n)); f.flush()\n"
        "' >/dev/null 2>&1 & echo $!; sleep 0.3"
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shell, backend, KEY, f"{writer}; sleep 2", 20)
        await anyio.sleep(0.6)
        for number in range(5):
            await backend.snapshot(KEY, f"load-{number}")
    for number in range(5):
        await restored(backend, MachineKey(50 + number), f"load-{number}")
        a, b = map(int, (await shell(backend, MachineKey(50 + number), "cat a; echo; cat b")).text.split())
        assert a - b in (0, 1)
    machine = await backend.inspect(KEY)
    assert machine is not None and machine.state is MachineState.RUNNING


async def test_of_a_stopped_machine(backend: BubblewrapBackend) -> None:
    await backend.create(KEY, SPEC)
    await shell(backend, KEY, "echo one > file")
    await backend.stop(KEY)
    await backend.snapshot(KEY, "stopped")
    await backend.destroy(KEY)
    await restored(backend, NEXT, "stopped")
    assert (await shell(backend, NEXT, "cat file")).text == "one\n"


async def test_listed_and_removed_by_another_server(
    backend: BubblewrapBackend, tmp_path: Path, pool_id: str, grade: Grade
) -> None:
    await backend.create(KEY, SPEC)
    kept = [await backend.snapshot(KEY, name) for name in ("a", "b")]
    async with BubblewrapBackend(tmp_path, pool_id=pool_id, grade=grade) as second:
        assert await second.list_snapshots() == kept
        await second.delete_snapshot("a")
        await second.delete_snapshot("a")
    assert [s.reference for s in await backend.list_snapshots()] == ["b"]


async def test_refusals(backend: BubblewrapBackend, tmp_path: Path) -> None:
    with pytest.raises(BackendFailed):
        await backend.snapshot(KEY, "none")
    with pytest.raises(SnapshotNotFound):
        await restored(backend, NEXT, "none")
    await backend.create(KEY, SPEC)
    for reference in ("../x", "", ".hidden", "a/b", "x" * 200):
        with pytest.raises(InvalidRequest):
            await backend.snapshot(KEY, reference)
    await backend.snapshot(KEY, "old")
    record = tmp_path / "snapshots/old/record.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "base": "another"}))
    with pytest.raises(SnapshotMismatch, match="another"):
        await restored(backend, NEXT, "old")
    assert await backend.inspect(NEXT) is None


@pytest.mark.parametrize(("asked", "has"), [(16, 32), (64, 64)])
async def test_a_snapshots_disk_grows_and_never_shrinks(
    backend: BubblewrapBackend, grade: Grade, asked: int, has: int
) -> None:
    await backend.create(KEY, SPEC)
    await backend.snapshot(KEY, "small")
    machine = await backend.create(NEXT, MachineSpec("box", "bash", Limits(disk=asked), snapshot="small"))
    warned = any("32 MB" in warning for warning in machine.warnings)
    assert warned is (grade is Grade.ROOT and has > asked)
