"""The same backend on Podman's Docker-compatible socket, with a service and a storage of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from vmpool.agent.client import open_client
from vmpool.backends.base import MachineKey, MachineSpec, MachineState
from vmpool.backends.docker import DockerBackend
from vmpool.backends.docker.engine import connected
from vmpool.backends.docker.stub import dial_stub
from vmpool.domain import Limits

from .inside import agent_of, run, shell

pytestmark = [pytest.mark.anyio, pytest.mark.root]

KEY = MachineKey(1)
# crun refuses cgroup2 beside version 1: as for Docker's engine, one mount less in a namespace of its own.
START = """
if mountpoint -q /sys/fs/cgroup/memory && mountpoint -q /sys/fs/cgroup/unified; then
    umount /sys/fs/cgroup/unified
fi
exec podman --root "$1/store" --runroot "$1/run" --tmpdir "$1/tmp" system service --time 0 "unix://$1/podman.sock"
"""


@pytest.fixture
async def podman(engine: None) -> AsyncIterator[str]:
    """The address of a Podman that has the bash template's image, taken over from Docker's engine."""
    if os.getuid() != 0 or shutil.which("podman") is None:
        pytest.skip("there is no podman, or no root to run it as")
    directory = Path(tempfile.mkdtemp(prefix="vmp"))  # Podman wants short paths
    command = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", START, "podman", str(directory)]
    with (directory / "log").open("wb") as log:
        service = await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory
        )
    try:
        with anyio.fail_after(20):
            while not (directory / "podman.sock").is_socket():
                assert service.returncode is None, (directory / "log").read_text()
                await anyio.sleep(0.05)
        host = f"unix://{directory}/podman.sock"
        async with connected() as docker, connected(host) as client:
            async with docker.images.export_image("vmpool/bash") as image:
                await client.images.import_image(image.iter_any())
        yield host
    finally:
        with suppress(ProcessLookupError):
            service.terminate()
        with anyio.move_on_after(10, shield=True):
            await service.wait()
        await service.aclose()
        await anyio.to_thread.run_sync(remove, directory)


def remove(directory: Path) -> None:
    """What the service leaves: the watchers of its execs, for five minutes, and cgroups of version 1.

    Its mounts went with its mount namespace.
    """
    while watchers := [pid for pid in Path("/proc").glob("[0-9]*") if is_about(pid, directory)]:
        for pid in watchers:
            with suppress(ProcessLookupError):
                os.kill(int(pid.name), signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(directory)
    for parent in Path("/sys/fs/cgroup").glob("*/libpod_parent"):
        for left in sorted(parent.rglob("*"), reverse=True):
            if left.is_dir():
                left.rmdir()
        parent.rmdir()


def is_about(process: Path, directory: Path) -> bool:
    try:
        return str(directory).encode() in (process / "cmdline").read_bytes()
    except OSError:
        return False  # it has just ended


async def test_a_vms_life_on_podman(podman: str, tmp_path: Path, pool_id: str) -> None:
    async with DockerBackend(tmp_path, pool_id=pool_id, host=podman) as backend:
        info = await backend.describe()
        assert (info.isolation, info.templates) == ("container", ("bash",))
        limits = Limits(cpu=1, memory=64, disk=10, processes=32)
        try:
            made = await backend.create(KEY, MachineSpec("box", "bash", limits))
            assert await backend.create(KEY, MachineSpec("box", "bash", limits)) == made
            async with agent_of(backend, KEY) as agent:
                status = await shell(agent, "cat /proc/self/status; hostname; echo kept > ~/file")
                assert "CapBnd:\t0000000000000000" in status
                assert "NoNewPrivs:\t1" in status
                assert status.endswith("\nbox\n")
                _output, ended = await run(agent, "/bin/rm", "/run/vmpool/agent.sock")
                assert ended.exit_code != 0
                output, ended = await run(
                    agent, "/bin/bash", "-c", "for i in {1..100}; do sleep 5 & done; wait"
                )
                assert "fork" in output
            usage = await backend.usage(KEY)
            assert usage.memory_bytes is not None
            assert 0 < usage.memory_bytes < 64 * 2**20
            await backend.stop(KEY)
            assert [machine.state for machine in await backend.list()] == [MachineState.STOPPED]
            await backend.start(KEY)
            async with connected(podman) as client:
                container = client.containers.container(made.container_id)
                async with open_client(lambda: dial_stub(container)) as agent:
                    assert await agent.read_file("/home/user/file") == b"kept\n"
            stored = await backend.snapshot(KEY, "s1")
            assert await backend.list_snapshots() == [stored]
            restored = MachineKey(1, 2)
            await backend.create(restored, MachineSpec("box", "bash", snapshot="s1"))
            await backend.delete_snapshot("s1")
            assert await backend.list_snapshots() == []
            async with agent_of(backend, restored) as agent:
                assert await shell(agent, "cat ~/file") == "kept\n"
        finally:
            for machine in await backend.list():
                await backend.destroy(machine.key)
        assert await backend.list() == []


WALLS = """
ulimit -Sn; ulimit -Hn
grep '^Max core' /proc/self/limits
grep '^Max file size' /proc/self/limits
df --output=size --block-size=1M /dev/shm | tail -n 1
cat /proc/sys/kernel/shmall
head -c 96M /dev/zero > /home/user/large
stat -c %s /home/user/large
head -c 72M /dev/zero 2>&1 > /dev/shm/large | grep -c 'No space left'
"""


async def test_limits_on_podman(podman: str, tmp_path: Path, pool_id: str) -> None:
    """The engine takes each setting, and the kernel holds it."""
    async with DockerBackend(tmp_path, pool_id=pool_id, host=podman) as backend:
        limits = Limits(cpu=1, memory=96, disk=80, processes=32)
        try:
            made = await backend.create(KEY, MachineSpec("box", "bash", limits))
            assert any("disk" in warning for warning in made.warnings)
            assert not any("memory" in warning for warning in made.warnings)
            async with agent_of(backend, KEY) as agent:
                found = [" ".join(line.split()) for line in (await shell(agent, WALLS)).splitlines()]
                found.remove("File size limit exceeded")  # the other stream's: it may come before or after
                assert found == [
                    "1024",
                    "4096",
                    "Max core file size 1 1 bytes",
                    f"Max file size {80 << 20} {80 << 20} bytes",
                    "64",
                    str(64 * 2**20 // os.sysconf("SC_PAGE_SIZE")),
                    str(80 << 20),
                    "1",
                ]
                await shell(agent, "rm /dev/shm/large")
                greedy = "x=$(head -c 200000000 /dev/zero | tr '\\0' x)"
                output, ended = await run(agent, "/bin/bash", "-c", greedy)
                assert ended.exit_code != 0, output
                assert (await shell(agent, "echo alive")) == "alive\n"
        finally:
            for machine in await backend.list():
                await backend.destroy(machine.key)
