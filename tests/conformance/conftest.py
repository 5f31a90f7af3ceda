from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conformance.backends import CANDIDATES, Candidate, World
from tests.conformance.box import Box, open_box
from tests.conformance.pool import Serve, serving
from vmpool.backends.base import Backend

_PROBED: dict[str, str | None] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test the candidates that have the powers it asks for (`@pytest.mark.requires(...)`)."""
    if "candidate" not in metafunc.fixturenames:
        return
    needed = {power for mark in metafunc.definition.iter_markers("requires") for power in mark.args}
    chosen = [candidate for candidate in CANDIDATES if needed <= candidate.powers]
    metafunc.parametrize(
        "candidate", chosen, ids=[entry.name for entry in chosen], indirect=True, scope="session"
    )


@pytest.fixture(scope="session")
def candidate(request: pytest.FixtureRequest) -> Candidate:
    chosen: Candidate = request.param
    if chosen.name not in _PROBED:
        _PROBED[chosen.name] = chosen.probe()
    reason = _PROBED[chosen.name]
    if reason is not None:
        if chosen.name in request.config.getoption("--require-backend"):
            pytest.fail(f"{chosen.name} is required and not available: {reason}", pytrace=False)
        pytest.skip(f"{chosen.name}: {reason}")
    return chosen


@pytest.fixture
async def world(candidate: Candidate, anyio_backend: str) -> AsyncIterator[World]:
    """A world of the test's own."""
    async with candidate.open_world() as opened:
        yield opened


@pytest.fixture
async def backend(world: World) -> AsyncIterator[Backend]:
    async with world.backend() as opened:
        yield opened


@pytest.fixture(scope="module")
async def box(candidate: Candidate, anyio_backend: str) -> AsyncIterator[Box]:
    """A running machine that the tests of one module share; they leave it usable."""
    async with candidate.open_world() as world, open_box(world) as opened:
        yield opened


@pytest.fixture
async def own_box(world: World) -> AsyncIterator[Box]:
    """A running machine of the test's own, to be broken."""
    async with open_box(world) as opened:
        yield opened


@pytest.fixture
def serve(world: World, tmp_path: Path) -> Serve:
    """A server of the one pool there is, anew each time."""
    return serving(world, tmp_path)
