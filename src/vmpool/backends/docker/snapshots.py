"""Snapshots: a container's layer kept as an image of its own, named by pool and reference."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from vmpool.backends.base import StoredSnapshot
from vmpool.backends.docker.engine import familiar, find_image
from vmpool.backends.docker.errors import is_conflict, is_missing
from vmpool.backends.docker.machines import layer_size
from vmpool.backends.docker.spec import LABEL_BASE, LABEL_POOL, LABEL_SNAPSHOT
from vmpool.errors import SnapshotTooLarge

_FORGOTTEN = "vmpool-forgotten/"
"""Prefix of the name a deleted snapshot bears for as long as VMs stand on it."""


async def keep(client: Docker, container: DockerContainer, name: str, limit: int | None) -> StoredSnapshot:
    """Commit the container as image `name`, its processes frozen meanwhile.

    limit: bytes it may take; SnapshotTooLarge past it.  An image holds a hole in a file as data, so that a
    VM whose disk is nearly empty could fill the host's.  The engine makes the image at once or not at all.
    The image's labels are the container's, of which pool, template and base matter, and the reference.
    """
    repository, _, reference = name.rpartition(":")
    stored = await find_image(client, name)
    if stored is None:
        # The engine's own undoing of a half-made image is not ours to interrupt.
        with anyio.CancelScope(shield=True):
            async with _frozen(container) as frozen:
                await _check_size(container, limit)
                await container.commit(
                    repository=repository,
                    tag=reference,
                    changes=f"LABEL {LABEL_SNAPSHOT}={reference}",
                    config={},  # Podman wants one to be there
                    pause=not frozen,
                )
        stored = await find_image(client, name)
        assert stored is not None, "the engine names what it has just committed"
    return StoredSnapshot(reference, base_of(stored), await _size(client, stored["Id"]))


@asynccontextmanager
async def _frozen(container: DockerContainer) -> AsyncIterator[bool]:
    """No process goes on meanwhile, where there is one and it can be frozen; whether that is so.

    A container that is paused already stays so, and is kept as it is.  A server that ends here leaves it
    frozen: the next one lets it go.
    """
    try:
        await container.pause()
    except DockerError as error:
        if is_missing(error):
            raise
        yield False  # it does not run, is paused, or (Podman without root) cannot be frozen by us
        return
    try:
        yield True
    finally:
        await container.unpause()


async def _check_size(container: DockerContainer, limit: int | None) -> None:
    if limit is not None:
        size = layer_size(await container.show(size=True))
        if size is not None and size > limit:
            raise SnapshotTooLarge(size, limit)


async def delete(client: Docker, name: str) -> None:
    """Take the image's name away, and remove the image unless a VM stands on it.

    Not by force: Docker then keeps an image nobody finds again, and Podman removes the VMs with it.
    """
    repository, _, reference = name.rpartition(":")
    pool_id = repository.rpartition("/")[2]
    try:
        await client.images.tag(name, f"{_FORGOTTEN}{pool_id}", tag=reference)
        await client.images.delete(name)
    except DockerError as error:
        if not is_missing(error):
            raise
    await _remove_unless_used(client, f"{_FORGOTTEN}{pool_id}:{reference}")


async def listed(client: Docker, pool_id: str) -> list[StoredSnapshot]:
    """Every snapshot that still has its name."""
    wanted = {"label": [f"{LABEL_POOL}={pool_id}"]}
    found = []
    for image in await client.images.list(filters=wanted):
        for tag in image.get("RepoTags") or ():
            repository, _, reference = familiar(tag).rpartition(":")
            if repository == f"vmpool-snap/{pool_id}":
                size = await _size(client, image["Id"])
                found.append(StoredSnapshot(reference, image["Labels"].get(LABEL_BASE, ""), size))
    return sorted(found, key=lambda snapshot: snapshot.reference)


def base_of(image: Mapping[str, Any]) -> str:
    """The id of the template's image a snapshot stands on."""
    return str((image["Config"].get("Labels") or {}).get(LABEL_BASE, ""))


async def drop_if_forgotten(client: Docker, image_id: str) -> None:
    """Remove the image of a deleted snapshot once the last VM made from it is gone."""
    image = await find_image(client, image_id)
    names = [familiar(name) for name in image.get("RepoTags") or ()] if image is not None else []
    if all(name.startswith(_FORGOTTEN) for name in names):
        for name in names:
            await _remove_unless_used(client, name)


async def _remove_unless_used(client: Docker, name: str) -> None:
    try:
        await client.images.delete(name)
    except DockerError as error:
        if not (is_missing(error) or is_conflict(error)):
            raise


async def _size(client: Docker, image_id: str) -> int:
    """Bytes of the snapshot's own layer, without what it stands on."""
    try:
        layers: Any = await client.images.history(image_id)
    except DockerError as error:
        if is_missing(error):
            return 0  # deleted while being listed
        raise
    return int(layers[0]["Size"]) if layers else 0
