"""The disk over a container's layer, on the real engine: where it is, and that nothing of it is ever left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiodocker import Docker

from tests.unit.docker.conftest import MakeBackend
from tests.unit.docker.inside import agent_of, run, shell
from vmpool.backends import kernel
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.docker import DockerBackend
from vmpool.backends.docker.engine import connected, engine_host
from vmpool.backends.docker.layers import Layers, engine_process
from vmpool.backends.docker.spec import container_name
from vmpool.backends.docker.storage import layer_of
from vmpool.domain import Limits

off = anyio.to_thread.run_sync
"""Whatever looks at the host blocks."""

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root on the engine's host lays disks over layers"),
]
KEY = MachineKey(1)
SPEC = MachineSpec("box", "bash", Limits(disk=32))
MB = 1 << 20


@pytest.fixture
async def engine_client() -> AsyncIterator[Docker]:
    async with connected() as client:
        yield client


async def facts_of(client: Docker, pool_id: str) -> dict[str, Any]:
    return await client.containers.container(container_name(pool_id, KEY)).show()


async def layer(client: Docker, pool_id: str) -> str:
    found = layer_of(await facts_of(client, pool_id))
    assert found is not None
    return found


def traces_of(layer: str) -> list[str]:
    """What the host and the engine have of a layer: its directory, mounts, loop devices."""
    engine = engine_process(engine_host().removeprefix("unix://"))
    mounts = Path(f"/proc/{engine}/mountinfo").read_text() + Path("/proc/self/mountinfo").read_text()
    found = [line for line in mounts.splitlines() if layer in line]
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [text for text in [backing.read_text()] if layer in text]
        except OSError:
            continue
    return found + ([layer] if Path(layer).exists() else [])


def is_mounted(layer: str) -> bool:
    engine = engine_process(engine_host().removeprefix("unix://"))
    return kernel.in_mounts_of(f"/proc/{engine}", lambda: os.path.ismount(layer))


def take_away(tmp_path: Path, layer: str) -> None:
    Layers(engine_host().removeprefix("unix://"), tmp_path).take_away(layer)


def pull_the_plug_on(image: Path) -> None:
    """Make the disk look as one that was mounted and written to when the host went down."""
    for field in ("state 0", "free_blocks_count 3"):
        subprocess.run(
            ["debugfs", "-w", "-R", f"set_super_value {field}", image],
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            capture_output=True,
            check=True,
        )


@contextmanager
def copy_of_the_engines_mounts(layer: str) -> Iterator[None]:
    """A mount namespace that has the layer's disk, and from which the engine's unmounting takes nothing."""
    engine = engine_process(engine_host().removeprefix("unix://"))
    keeper = subprocess.Popen(
        ["nsenter", f"--mount=/proc/{engine}/ns/mnt", "unshare", "--mount", "sleep", "600"]
    )
    try:
        while Path(f"/proc/{keeper.pid}/ns/mnt").readlink() == Path(f"/proc/{engine}/ns/mnt").readlink() or (
            layer not in Path(f"/proc/{keeper.pid}/mountinfo").read_text()
        ):
            time.sleep(0.02)
        kernel.in_mounts_of(f"/proc/{engine}", lambda: kernel.unmount(layer))
        yield
    finally:
        keeper.kill()
        keeper.wait()


async def write(backend: DockerBackend, script: str) -> str:
    async with agent_of(backend, KEY) as agent:
        return await shell(agent, script)


async def test_a_removal_by_hand_leaves_nothing(
    backend: DockerBackend, engine_client: Docker, pool_id: str
) -> None:
    await backend.create(KEY, SPEC)
    place = await layer(engine_client, pool_id)
    assert await off(is_mounted, place)
    assert await off(traces_of, place)
    await engine_client.containers.container(container_name(pool_id, KEY)).delete(force=True)
    assert await off(traces_of, place) == []
    assert await backend.inspect(KEY) is None


async def test_a_disk_the_host_has_lost_is_there_again_at_the_next_start(
    backend: DockerBackend, engine_client: Docker, pool_id: str, tmp_path: Path
) -> None:
    """As after the host's restart: the container is stopped, and nothing is mounted."""
    await backend.create(KEY, SPEC)
    place = await layer(engine_client, pool_id)
    await write(backend, "echo kept > /home/user/file; echo too > /var/tmp/file")
    await backend.stop(KEY)
    await off(take_away, tmp_path, place)
    assert not await off(is_mounted, place)
    await backend.snapshot(KEY, "kept")
    await backend.start(KEY)
    assert await write(backend, "cat /home/user/file /var/tmp/file") == "kept\ntoo\n"
    await backend.destroy(KEY)
    await backend.create(KEY, MachineSpec("box", "bash", Limits(disk=32), snapshot="kept"))
    assert await write(backend, "cat /home/user/file /var/tmp/file") == "kept\ntoo\n"
    assert await off(traces_of, place) == []


async def test_a_disk_that_was_mounted_when_the_host_went_down_is_made_whole(
    backend: DockerBackend, engine_client: Docker, pool_id: str, tmp_path: Path
) -> None:
    await backend.create(KEY, SPEC)
    place = await layer(engine_client, pool_id)
    await write(backend, "echo kept > /home/user/file")
    await backend.stop(KEY)
    await off(take_away, tmp_path, place)
    await off(pull_the_plug_on, Path(place, "disk.ext4"))
    await backend.start(KEY)
    kept, free = (await write(backend, "cat /home/user/file; df -k --output=avail / | tail -1")).split()
    assert kept == "kept"
    assert int(free) > 20_000


async def test_a_disk_that_another_namespace_holds_is_not_attached_twice(
    backend: DockerBackend, engine_client: Docker, pool_id: str
) -> None:
    """As where containers outlive their engine: an image with two devices would be destroyed."""
    await backend.create(KEY, SPEC)
    place = await layer(engine_client, pool_id)
    await write(backend, "echo kept > /home/user/file")
    await backend.stop(KEY)
    copy = copy_of_the_engines_mounts(place)
    await off(copy.__enter__)
    try:
        await backend.start(KEY)
        assert await write(backend, "cat /home/user/file; echo more >> /home/user/file") == "kept\n"
        devices = [trace for trace in await off(traces_of, place) if trace.endswith("disk.ext4\n")]
        assert len(devices) == 1
    finally:
        await off(copy.__exit__, None, None, None)
    await backend.stop(KEY)
    await backend.start(KEY)
    assert await write(backend, "cat /home/user/file") == "kept\nmore\n"


KILLED_AT = """
import os, signal, sys
from pathlib import Path
import anyio
from vmpool.backends import disks, kernel, loops
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.docker import DockerBackend, layers
from vmpool.domain import Limits

pool_id, directory, module, name = sys.argv[1:]
where = {"disks": disks, "kernel": kernel, "loops": loops, "layers": layers}[module]
real = getattr(where, name)

def killed(*arguments):
    answer = real(*arguments)
    if any("overlay2" in str(one) for one in arguments) or name == "mount_unseen" and settled:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer

settled = False

async def main():
    global settled
    async with DockerBackend(Path(directory), pool_id=pool_id) as backend:
        settled = True
        await backend.create(MachineKey(1), MachineSpec("box", "bash", Limits(disk=32)))

setattr(where, name, killed)
anyio.run(main)
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("disks", "copy_sparse"),
        ("loops", "attach"),
        ("kernel", "mount_unseen"),
        ("layers", "_fill"),
        ("kernel", "attach"),
    ],
)
async def test_a_server_killed_at_any_step_leaves_what_the_next_one_finishes(
    make_backend: MakeBackend, engine_client: Docker, pool_id: str, tmp_path: Path, module: str, name: str
) -> None:
    command = [sys.executable, "-c", KILLED_AT, pool_id, str(tmp_path), module, name]
    killed = await anyio.run_process(command, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    place = await layer(engine_client, pool_id)
    async with make_backend() as backend:
        await backend.create(KEY, SPEC)
        assert await off(is_mounted, place)
        async with agent_of(backend, KEY) as agent:
            output, _ = await run(agent, "/bin/sh", "-c", f"head -c {64 * MB} /dev/zero > /var/tmp/fill")
            assert "No space left" in output
        await backend.destroy(KEY)
    assert await off(traces_of, place) == []
