"""The state directory's disk is full: what cannot be done is refused, and nothing is lost or left over."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.host_state import HostState
from tests.faults.use import SECONDS, create, done, execute, serving, until, until_agreed, until_writes

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system takes root"),
]

DISK_MB = 192
FLOOD = 400_000
PROGRAM = f"echo begun; sleep 2; head -c {FLOOD} /dev/zero | tr '\\0' a; echo; echo ended"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of the test's own."""
    image, mount = tmp_path / "disk.ext4", tmp_path / "disk"
    mount.mkdir()
    with image.open("xb") as file:
        file.truncate(DISK_MB << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mount], check=True)
    try:
        yield mount
    finally:
        # The kernel lets go of a VM's loop device a moment after its last process.
        until(lambda: subprocess.run(["umount", mount], check=False).returncode == 0)


def fill(disk: Path) -> Path:
    """Leave not a block; the file that takes it all."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        (disk / "more").write_bytes(b"\0" * 4096)
    (disk / "more").unlink()
    return ballast


def assert_done_or_refused(answer: httpx.Response) -> bool:
    """Whether it was done; the only other answer is a failure of the host's, which may be tried again."""
    if answer.is_success:
        return True
    problem = answer.json()
    assert answer.status_code >= 500 and problem["code"] in ("store_failed", "backend_failed"), answer.text
    assert problem["retryable"], problem
    return False


@pytest.mark.timeout(180)
def test_a_full_disk(disk: Path, clients: ThreadPoolExecutor) -> None:
    state_dir = disk / "state"
    rows = HostState(state_dir, "bubblewrap")
    with serving(state_dir) as found:
        for name in ("box", "other"):
            assert create(found, name).status_code == 201
        done(found, "box", "echo kept > note")
        runs = clients.submit(execute, found, "box", PROGRAM)
        until_writes(found, "box", "begun")
        ballast = fill(disk)

        assert [vm["status"] for vm in found.client.get("/api/vms").json()] == ["running", "running"]
        for _ in range(3):
            if assert_done_or_refused(answer := execute(found, "other", "echo one")):
                assert answer.json()["output"] == "one\n"
            assert_done_or_refused(create(found, "new"))
            assert_done_or_refused(found.client.post("/api/vms/box/snapshot", json={"name": "kept"}))
            assert_done_or_refused(found.client.post("/api/vms/other/restart"))
        ended = runs.result(SECONDS)
        assert ended.status_code == 200 and ended.json()["exit_code"] == 0, ended.text
        assert ended.json()["output"] == f"begun\n{'a' * FLOOD}\nended\n"

        ballast.unlink()
        until_agreed(rows)
        recorded = found.client.get(f"/api/vms/box/executions/{ended.json()['id']}").json()
        assert recorded["output"] == ended.json()["output"]
        assert done(found, "box", "cat note") == "kept\n"
        if found.client.get("/api/vms/new").status_code == 404:
            assert create(found, "new").status_code == 201
        for vm in found.client.get("/api/vms").json():
            if vm["status"] != "running":
                assert found.client.post(f"/api/vms/{vm['id']}/start").status_code == 200
            assert done(found, vm["name"], "echo usable > file; cat file") == "usable\n"
        assert found.process.poll() is None
