from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import anyio
import pytest

from vmpool.backends.docker import DockerBackend, docker_available

MakeBackend = Callable[..., DockerBackend]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips where no engine with our images answers."""
    found = anyio.run(docker_available)
    if not found.ok:
        pytest.skip(found.reason)


@pytest.fixture
def pool_id() -> str:
    """Of one test alone, so that tests at once leave each other's containers alone."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make_backend(engine: None, tmp_path: Path, pool_id: str) -> MakeBackend:
    def make(**options: object) -> DockerBackend:
        settings: dict[str, object] = {"pool_id": pool_id, **options}
        return DockerBackend(tmp_path, **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture
async def backend(make_backend: MakeBackend) -> AsyncIterator[DockerBackend]:
    """A backend of its own; whatever it made is gone afterwards."""
    async with make_backend() as opened:
        yield opened
        for machine in await opened.list():
            await opened.destroy(machine.key)
        for snapshot in await opened.list_snapshots():
            await opened.delete_snapshot(snapshot.reference)
