"""A whole server on the fake backend and SQLite, reached through HTTP without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp

from vmpool.api.server import create_app
from vmpool.api.services import Services
from vmpool.app import opened
from vmpool.settings import LimitSettings, Listen, RateSettings, Settings
from vmpool.store.statedir import StateDirectory

from .caller import Caller

MAX_BODY = 64 << 10


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Small limits, so that reaching them is quick."""
    return Settings(
        state_dir=tmp_path / "state",
        backend="fake",
        listen=Listen(port=0, max_body=MAX_BODY, drain=5),
        limits=LimitSettings(max_vms_per_user=10, max_total_vms=12, host_memory=64_000, max_disk_limit=4096),
        rates=RateSettings(failures=0),  # the tests' own callers share one address
    )


@pytest.fixture
def directory(settings: Settings) -> Iterator[StateDirectory]:
    with StateDirectory(settings.state_dir) as held:
        yield held


@pytest.fixture
async def services(
    settings: Settings, directory: StateDirectory, anyio_backend: str
) -> AsyncIterator[Services]:
    async with opened(settings, directory) as found:
        yield found


@pytest.fixture
def app(services: Services, settings: Settings) -> ASGIApp:
    return create_app(services, max_body=settings.listen.max_body, max_bodies=settings.listen.max_bodies)


@pytest.fixture
async def caller_with(app: ASGIApp) -> AsyncIterator[Callable[[str | None], Caller]]:
    """From an API key to somebody who calls with it."""
    clients: list[httpx.AsyncClient] = []

    def make(key: str | None) -> Caller:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://pool", headers=headers, timeout=30
        )
        clients.append(client)
        return Caller(client)

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def owner(settings: Settings, caller_with: Callable[[str | None], Caller]) -> Caller:
    """The server's own user, an administrator."""
    return caller_with((settings.state_dir / "owner.key").read_text().strip())


@pytest.fixture
async def other(owner: Caller, caller_with: Callable[[str | None], Caller]) -> Caller:
    """Somebody else."""
    made = await owner.ok("POST", "/api/users", {"name": "somebody"}, status=201)
    return caller_with(made["key"]["key"])


@pytest.fixture
def nobody(caller_with: Callable[[str | None], Caller]) -> Caller:
    """Without a key."""
    return caller_with(None)
