from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vmpool.backends.fake import FakeHost
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.store import Store, open_store

from .world import World


@pytest.fixture
async def store(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Store]:
    async with open_store(f"sqlite:///{tmp_path / 'vmpool.db'}") as opened:
        yield opened


@pytest.fixture
async def world(store: Store, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    """A host with nothing on it, a database with two users, and no server yet."""
    async with FakeHost() as host:
        ada = await store.users.ensure("ada", admin=False)
        bob = await store.users.ensure("bob", admin=False)
        yield World(host, store, tmp_path, ada.id, bob.id)


@pytest.fixture
async def pool(world: World) -> AsyncIterator[VMPoolManager]:
    """A server on that host."""
    async with world.server() as opened:
        yield opened
