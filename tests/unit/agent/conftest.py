from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.agent.agents import Agent, fake_agent, real_agent
from vmpool.agent import Client, open_client


@pytest.fixture(params=["fake", "binary"])
async def agent(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Agent]:
    opened = fake_agent() if request.param == "fake" else real_agent(tmp_path)
    async with opened as running:
        yield running


@pytest.fixture
async def client(agent: Agent) -> AsyncIterator[Client]:
    async with open_client(agent.dial) as opened:
        yield opened
