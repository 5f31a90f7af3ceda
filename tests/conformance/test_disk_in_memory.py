"""Where no disk limit can be hard, and the operator has chosen to keep files in memory."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp

import anyio.to_thread
import pytest

from tests.conformance.backends import CANDIDATES, Candidate, World, _pool_id
from tests.conformance.box import limited, open_box
from tests.conformance.test_limits import COUNT_FILES, FILL, MB
from vmpool.agent import open_client
from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.host import Grade
from vmpool.backends.docker import DockerBackend
from vmpool.backends.docker.engine import engine_host
from vmpool.errors import Unsupported

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@asynccontextmanager
async def relay(directory: Path) -> AsyncIterator[str]:
    """Another way to the engine, which does not show where it runs: as a remote one."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine = await asyncio.open_unix_connection(engine_host().removeprefix("unix://"))
        await asyncio.gather(copy(reader, engine[1]), copy(engine[0], writer))
        for end in (engine[1], writer):
            end.close()

    path = directory / "relay.sock"
    server = await asyncio.start_unix_server(serve, path)
    try:
        yield f"unix://{path}"
    finally:
        server.close()


@asynccontextmanager
async def bubblewrap_world(candidate: Candidate, directory: Path) -> AsyncIterator[World]:
    pool_id = _pool_id()
    yield World(
        candidate,
        pool_id,
        lambda: BubblewrapBackend(directory, pool_id=pool_id, grade=Grade.USER, disk_in_memory=True),
        None,
        directory,
    )


@asynccontextmanager
async def docker_world(candidate: Candidate, directory: Path) -> AsyncIterator[World]:
    pool_id = _pool_id()
    async with relay(directory) as host:
        yield World(
            candidate,
            pool_id,
            lambda: DockerBackend(directory, pool_id=pool_id, host=host, disk_in_memory=True),
            None,
            directory,
        )


WORLDS: dict[str, Callable[[Candidate, Path], AbstractAsyncContextManager[World]]] = {
    "bubblewrap": bubblewrap_world,
    "docker": docker_world,
}


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[World]:
    found = next(one for one in CANDIDATES if one.name == request.param)
    reason = await anyio.to_thread.run_sync(found.probe)
    if reason is not None:
        assert found.name not in request.config.getoption("--require-backend"), reason
        pytest.skip(reason)
    directory = Path(await anyio.to_thread.run_sync(mkdtemp))
    try:
        candidate = Candidate(
            found.name, found.powers, found.probe, lambda one: WORLDS[one.name](one, directory)
        )
        async with candidate.open_world() as opened:
            yield opened
    finally:
        await anyio.to_thread.run_sync(shutil.rmtree, directory)


async def test_it_is_held_in_bytes_and_files_said_and_gone_with_a_stop(world: World) -> None:
    async with open_box(world, spec=limited(world.spec(), disk=64, memory=256)) as box:
        assert box.info.enforcement["disk"] == "tmpfs size"
        assert not any("disk" in soft for soft in box.info.soft_limits.values())
        assert any("do not outlive a stop" in warning for warning in box.machine.warnings)
        taken, held, refusals, _ = json.loads((await box.python(FILL)).stdout)
        assert 32 * MB < taken <= 64 * MB
        assert held <= 64 * MB
        assert refusals == ["ENOSPC"]
        count, refusal = (await box.python(COUNT_FILES)).stdout.decode().split()
        assert refusal == "ENOSPC"
        assert 1000 < int(count) <= 4096
        await box.output("rm -r many; echo kept > file; cat file")
        assert "snapshot" not in box.info.capabilities
        with pytest.raises(Unsupported, match="in memory"):
            await box.backend.snapshot(box.key, "one")  # type: ignore[attr-defined]
        await box.backend.stop(box.key)
        await box.backend.start(box.key)
        async with open_client(lambda: box.backend.dial(box.key)) as client:
            again = type(box)(world, box.backend, box.info, box.machine, client, box.memory)
            assert (await again.sh("cat file")).exit.exit_code != 0
            assert await again.output("echo new > file; cat file") == "new"
