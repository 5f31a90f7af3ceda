"""The engine's containers by name: made once, removed for good."""

from __future__ import annotations

import anyio
from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from vmpool.backends.docker.errors import is_conflict, is_missing
from vmpool.backends.docker.spec import JSONDict
from vmpool.errors import BackendFailed


async def create_or_find(client: Docker, name: str, config: JSONDict) -> tuple[DockerContainer, bool]:
    """The container of this name, and whether this call made it."""
    for _ in range(3):
        try:
            return await client.containers.create(config, name=name), True
        except DockerError as error:
            if not is_conflict(error):
                raise
        try:
            found = await client.containers.get(name)
        except DockerError as error:
            if not is_missing(error):
                raise
            continue  # removed in between
        if found["State"]["Status"] not in ("dead", "removing"):
            return found, False
        await remove(client, name)
    raise BackendFailed(f"the name {name} is neither free nor taken; look at `docker ps -a`")


async def remove(client: Docker, name: str) -> None:
    """Remove the container and wait until it is gone; an absent one is a success."""
    container = client.containers.container(name)
    for attempt in range(100):
        try:
            await container.delete(force=True, v=True)
        except DockerError as error:
            if is_missing(error):
                return
            # Another's removal is under way, or the process would not die at once.
            if attempt == 99 or not (is_conflict(error) or "did not receive an exit" in error.message):
                raise
            await anyio.sleep(0.1)
        else:
            return
