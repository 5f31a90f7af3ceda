from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests import docker_engine
from vmpool.backends.docker import DockerBackend

MakeBackend = Callable[..., DockerBackend]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> None:
    """Skips where no engine with our images answers; fails there if docker is required."""
    missing = docker_engine.why_missing()
    if missing is None:
        return
    if "docker" in request.config.getoption("--require-backend"):
        pytest.fail(f"docker is required and not available: {missing}", pytrace=False)
    pytest.skip(missing)


@pytest.fixture
def pool_id() -> str:
    """Of one test alone, so that tests at once leave each other's containers alone."""
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def make_backend(engine: None, tmp_path: Path, pool_id: str) -> AsyncIterator[MakeBackend]:
    """Makes backends of this test's pool; whatever they made is gone afterwards."""

    def make(**options: Any) -> DockerBackend:
        return DockerBackend(tmp_path, **{"pool_id": pool_id, **options})

    yield make
    async with make() as cleaner:
        for machine in await cleaner.list():
            await cleaner.destroy(machine.key)
        for snapshot in await cleaner.list_snapshots():
            await cleaner.delete_snapshot(snapshot.reference)


@pytest.fixture
async def backend(make_backend: MakeBackend) -> AsyncIterator[DockerBackend]:
    async with make_backend() as opened:
        yield opened
