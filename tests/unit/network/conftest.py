from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from .site import Site, serving


@pytest.fixture
async def site(anyio_backend: str) -> AsyncIterator[Site]:
    """A broker that lets everything on loopback through, until a test says otherwise."""
    async with anyio.create_task_group() as tasks:
        made = Site(tasks)
        made.begin()
        async with serving(made.accept) as port:
            made.port = port
            yield made
        tasks.cancel_scope.cancel()
