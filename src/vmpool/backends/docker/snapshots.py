"""Snapshots: a container's layer kept as an image of its own, named by pool and reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from vmpool.backends.base import StoredSnapshot
from vmpool.backends.docker.engine import find_image
from vmpool.backends.docker.errors import is_conflict, is_missing
from vmpool.backends.docker.spec import LABEL_BASE, LABEL_POOL, LABEL_SNAPSHOT, LABEL_TEMPLATE


async def keep(
    client: Docker, container: DockerContainer, facts: Mapping[str, Any], name: str
) -> StoredSnapshot:
    """Commit the container as image `name`, its processes frozen meanwhile.

    The engine makes the image at once or not at all, and undoes the freeze itself.
    """
    repository, _, reference = name.rpartition(":")
    stored = await find_image(client, name)
    if stored is None:
        # Docker hands the container's labels on, Podman does not.
        labels = facts["Config"]["Labels"]
        kept = {label: labels[label] for label in (LABEL_POOL, LABEL_TEMPLATE, LABEL_BASE)}
        kept[LABEL_SNAPSHOT] = reference
        # The engine's own undoing of a half-made image is not ours to interrupt.
        with anyio.CancelScope(shield=True):
            await container.commit(
                repository=repository,
                tag=reference,
                changes="LABEL " + " ".join(f'{label}="{value}"' for label, value in kept.items()),
                config={},  # Podman wants one to be there
                pause=True,
            )
        stored = await find_image(client, name)
        assert stored is not None, "the engine names what it has just committed"
    return StoredSnapshot(reference, base_of(stored), await _size(client, stored["Id"]))


async def delete(client: Docker, name: str) -> None:
    """Remove the image's name, and the image unless something stands on it."""
    try:
        # Without force the engine refuses while any VM made from it is there.
        await client.images.delete(name, force=True)
    except DockerError as error:
        if not is_missing(error):
            raise


async def listed(client: Docker, pool_id: str) -> list[StoredSnapshot]:
    """Every snapshot that still has its name."""
    wanted = {"label": [f"{LABEL_POOL}={pool_id}", LABEL_SNAPSHOT]}
    found = []
    for image in await client.images.list(filters=wanted):
        for tag in image.get("RepoTags") or ():
            repository, _, reference = tag.removeprefix("localhost/").rpartition(":")
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
    if image is None or image.get("RepoTags"):
        return
    if LABEL_SNAPSHOT not in (image["Config"].get("Labels") or {}):
        return
    try:
        await client.images.delete(image_id)
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
