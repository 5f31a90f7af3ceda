"""Holding a container's processes with their memory: the engine's own pause, by the freezer of its cgroup."""

from __future__ import annotations

from typing import Any

from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from vmpool.backends.docker.errors import is_conflict
from vmpool.errors import BackendFailed


def is_paused(facts: dict[str, Any]) -> bool:
    """By the engine's full answer about a container."""
    return bool(facts["State"].get("Paused"))


async def pause(container: DockerContainer) -> None:
    """Hold a running container; one that is held stays so.  BackendFailed where it does not run."""
    try:
        await container.pause()
    except DockerError as error:
        if not is_conflict(error):
            raise
        if not is_paused(await container.show()):
            raise BackendFailed(f"it cannot be held: {error.message}") from error


async def let_go(container: DockerContainer, facts: dict[str, Any]) -> dict[str, Any]:
    """The engine's answer about the container, which is not held any more."""
    if not is_paused(facts):
        return facts
    try:
        await container.unpause()
    except DockerError as error:
        if not is_conflict(error):
            raise
    return await container.show()
