"""Disk limits on engines of the tests' own: one on btrfs, and one that is ended and started again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from tests.unit.docker.inside import agent_of, run, shell
from tests.unit.docker.private_engine import PrivateEngine, private_engine, why_missing
from vmpool.backends.base import MachineKey, MachineSpec, MachineState
from vmpool.backends.docker import DockerBackend
from vmpool.domain import Limits
from vmpool.errors import Unsupported

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
KEY = MachineKey(1)
SPEC = MachineSpec("box", "bash", Limits(disk=32))
MB = 1 << 20
FILL = """
for i in $(seq 64); do head -c 1M /dev/urandom > ~/fill$i || break; done
cat ~/fill* | wc -c; rm ~/fill*
"""
off = anyio.to_thread.run_sync


@pytest.fixture
async def own_engine(request: pytest.FixtureRequest, engine: None) -> AsyncIterator[PrivateEngine]:
    driver: str = request.param
    missing = why_missing(driver)
    if missing is not None:
        assert "docker" not in request.config.getoption("--require-backend"), missing
        pytest.skip(missing)
    opened = private_engine(driver, "vmpool/bash")
    entered = await off(opened.__enter__)
    try:
        yield entered
    finally:
        await off(opened.__exit__, None, None, None)


async def fill(backend: DockerBackend) -> tuple[int, str]:
    """Bytes that fit, and what was said when no more did."""
    async with agent_of(backend, KEY) as agent:
        output, _ = await run(agent, "/bin/sh", "-c", FILL)
    return next(int(line) for line in output.splitlines() if line.isdecimal()), output


@pytest.mark.parametrize("own_engine", ["btrfs"], indirect=True)
async def test_the_engines_own_quota_on_btrfs(own_engine: PrivateEngine, tmp_path: Path) -> None:
    async with DockerBackend(tmp_path, pool_id="quota", host=own_engine.host) as backend:
        info = await backend.describe()
        assert info.enforcement["disk"] == "the engine's btrfs quota"
        assert "disk" not in info.soft_limits["container"]
        machine = await backend.create(KEY, SPEC)
        assert machine.warnings == ()
        written, said = await fill(backend)
        assert "quota exceeded" in said
        assert 16 * MB < written <= 1.01 * 32 * MB  # the image's own metadata counts, too
        async with agent_of(backend, KEY) as agent:
            await shell(agent, "echo kept > ~/file")
        await backend.stop(KEY)
        await backend.snapshot(KEY, "one")
        with pytest.raises(Unsupported, match="life"):
            await backend.resize(KEY, MachineSpec("box", "bash", Limits(disk=64)))
        await backend.resize(KEY, MachineSpec("box", "bash", Limits(disk=32, memory=100)))
        await backend.start(KEY)
        written, _ = await fill(backend)
        assert 16 * MB < written <= 1.01 * 32 * MB
        await backend.destroy(KEY)
        restored = MachineSpec("box", "bash", Limits(disk=32), snapshot="one")
        await backend.create(KEY, restored)
        async with agent_of(backend, KEY) as agent:
            assert await shell(agent, "cat ~/file") == "kept\n"
        assert (await fill(backend))[0] <= 1.01 * 32 * MB
        await backend.destroy(KEY)


@pytest.mark.parametrize("own_engine", ["overlay2"], indirect=True)
async def test_an_engine_that_was_ended_finds_its_disks_again(
    own_engine: PrivateEngine, tmp_path: Path
) -> None:
    """Its mounts end with its mount namespace, and the loop devices with the mounts."""
    async with DockerBackend(tmp_path, pool_id="again", host=own_engine.host) as backend:
        await backend.create(KEY, SPEC)
        async with agent_of(backend, KEY) as agent:
            await shell(agent, "echo kept > ~/file; sync")
    assert await off(devices, own_engine.directory) != []
    await off(own_engine.stop)
    with anyio.fail_after(20):
        while await off(devices, own_engine.directory):  # noqa: ASYNC110 - the kernel tells nobody
            await anyio.sleep(0.1)
    await off(own_engine.start)
    async with DockerBackend(tmp_path, pool_id="again", host=own_engine.host) as backend:
        assert [machine.state for machine in await backend.list()] == [MachineState.STOPPED]
        await backend.start(KEY)
        async with agent_of(backend, KEY) as agent:
            assert await shell(agent, "cat ~/file") == "kept\n"
        assert (await fill(backend))[0] <= 32 * MB
        await backend.destroy(KEY)
        assert await off(devices, own_engine.directory) == []


def devices(directory: Path) -> list[str]:
    """Loop devices of files below the directory."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found += [text for text in [backing.read_text()] if str(directory) in text]
        except OSError:
            continue
    return found
