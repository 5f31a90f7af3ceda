from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.host import Grade

from .inside import mounted_images, processes_of

GRADES = [Grade.USER] if os.geteuid() != 0 else [Grade.ROOT, Grade.USER]
"""What this user can have; an ordinary one runs the same tests in CI."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=GRADES, ids=str)
def grade(request: pytest.FixtureRequest) -> Grade:
    chosen: Grade = request.param
    return chosen


@pytest.fixture
def pool_id(tmp_path: Path) -> str:
    """Names this test's control groups."""
    return f"test-{os.getpid()}-{tmp_path.name}"


@pytest.fixture
def nothing_left(tmp_path: Path, pool_id: str) -> Iterator[None]:
    """Fails the test when the host is not as it was: processes, loop devices, control groups, files."""
    yield
    assert processes_of(tmp_path) == []
    assert mounted_images(tmp_path) == []
    assert list(Path("/sys/fs/cgroup").glob(f"*/vmpool/{pool_id}")) == []
    assert [e.name for e in (tmp_path / "vms").iterdir()] == []


@pytest.fixture
async def backend(
    tmp_path: Path, pool_id: str, grade: Grade, nothing_left: None
) -> AsyncIterator[BubblewrapBackend]:
    """A backend of each grade, all of whose machines are destroyed afterwards."""
    async with BubblewrapBackend(tmp_path, pool_id=pool_id, grade=grade) as entered:
        try:
            yield entered
        finally:
            for machine in await entered.list():
                await entered.destroy(machine.key)
