from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import pytest

from vmpool.domain import VM, Census, NewVM, User
from vmpool.store import Store, open_store

from .databases import create_database, drop_database, empty_tables, postgres_server


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, 678901)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


def admit_all(_: Census) -> None:
    """Admission that refuses nobody."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[str]:
    required = request.config.getoption("--require-backend", default=None) or ()
    try:
        server = postgres_server()
        url = server.__enter__()
    except RuntimeError as reason:
        if "postgres" in required:
            pytest.fail(f"PostgreSQL is required: {reason}")
        pytest.skip(f"no PostgreSQL: {reason}")
    try:
        yield url
    finally:
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def shared(postgres: str) -> Iterator[dict[str, str]]:
    """PostgreSQL's database for the tests that find its tables empty, by the server it is on."""
    made: dict[str, str] = {}
    yield made
    for server, url in made.items():
        anyio.run(drop_database, server, url)


@pytest.fixture(params=["sqlite", "postgres"])
def dialect(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
async def empty_url(
    dialect: str, request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[str]:
    """A database without tables."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    server: str = request.getfixturevalue("postgres")
    made = await create_database(server)
    try:
        yield made
    finally:
        await drop_database(server, made)


@pytest.fixture
async def url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> str:
    """A database whose tables are empty, or not there yet."""
    if dialect == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: str = request.getfixturevalue("postgres")
    shared: dict[str, str] = request.getfixturevalue("shared")
    if server not in shared:
        shared[server] = await create_database(server)
    else:
        await empty_tables(shared[server])
    return shared[server]


@pytest.fixture
async def store(url: str, clock: Clock) -> AsyncIterator[Store]:
    async with open_store(url, clock=clock) as opened:
        yield opened


@pytest.fixture
async def user(store: Store) -> User:
    return await store.users.ensure("ada")


@pytest.fixture
def new(user: User) -> Callable[..., NewVM]:
    """What to insert for `user`, defaults filled in."""

    def make(name: str = "box", **fields: object) -> NewVM:
        values: dict[str, object] = {
            "user_id": user.id,
            "name": name,
            "language": "python",
            "template": "python",
            "backend": "fake",
            "isolation": "none",
        }
        return NewVM(**{**values, **fields})  # type: ignore[arg-type]

    return make


@pytest.fixture
async def vm(store: Store, new: Callable[..., NewVM]) -> VM:
    return await store.vms.insert(new(), admit_all)
