"""Copies for a backup, of both kinds of disk: taken of a running VM, put back, and started."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from anyio import to_thread

from vmpool.backends.base import MachineKey, MachineSpec, MachineState
from vmpool.backends.bubblewrap import BubblewrapBackend, copies
from vmpool.backends.bubblewrap.layout import Layout
from vmpool.backends.bubblewrap.stillness import HELD
from vmpool.domain import Limits

from .inside import shell

pytestmark = pytest.mark.anyio
KEY, KEPT = MachineKey(5, 1), MachineKey(6, 1)
SPEC = MachineSpec("box", "bash", Limits(disk=32))
MAKE = (
    "echo one > file; ln -s file link; ln file hard; mkdir -m 0 closed; echo s > secret; chmod 0 secret;"
    "echo gone > gone; truncate -s 20M sparse"
)
LOOK = "cat link; echo $(ls); stat -c '%a %h %U' file secret; stat -c %a closed; stat -c %s sparse"
FOUND = ["one", "closed file hard link secret sparse", "644 2 user", "0 1 user", "0", "20971520"]


async def test_a_running_vm_and_its_snapshot(
    backend: BubblewrapBackend, pool_id: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    await backend.create(KEY, SPEC)
    await shell(backend, KEY, MAKE)
    await backend.snapshot(KEY, "early")
    await shell(backend, KEY, "rm gone")
    away = tmp_path_factory.mktemp("away")

    assert await to_thread.run_sync(copies.copy_machine, tmp_path, pool_id, KEY, away)
    assert not await to_thread.run_sync(copies.copy_machine, tmp_path, pool_id, MachineKey(9), away)
    assert await to_thread.run_sync(copies.copy_snapshots, tmp_path, ("early", "none"), away) == ["none"]
    assert not (Layout(tmp_path).vm(KEY).home / HELD).exists()
    assert (await shell(backend, KEY, "echo goes on")).text == "goes on\n"
    await backend.destroy(KEY)
    await backend.delete_snapshot("early")

    await to_thread.run_sync(copies.put_back, away)
    for part in ("vms", "snapshots"):
        for entry in (away / part).iterdir():
            shutil.move(entry, tmp_path / part)
    found = await backend.inspect(KEY)
    assert found is not None and found.state is MachineState.STOPPED
    await backend.start(KEY)
    assert (await shell(backend, KEY, LOOK)).text.splitlines() == FOUND
    await backend.create(KEPT, MachineSpec("box", "bash", Limits(disk=32), snapshot="early"))
    assert (await shell(backend, KEPT, "cat gone")).text == "gone\n"
    await backend.delete_snapshot("early")
