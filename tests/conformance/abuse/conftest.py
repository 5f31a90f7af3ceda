from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conformance.abuse.arena import Arena, open_arena
from tests.conformance.backends import Candidate


@pytest.fixture(scope="module")
async def arena(candidate: Candidate, anyio_backend: str) -> AsyncIterator[Arena]:
    """The VMs that the programs of one module share."""
    async with candidate.open_world() as world, open_arena(world) as opened:
        yield opened
