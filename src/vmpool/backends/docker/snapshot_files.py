"""Snapshots that are proved whole, leave this engine as layers, and come to it as layers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiodocker import Docker
from anyio import to_thread

from vmpool.backends import disks
from vmpool.backends.base import MachineSpec, SnapshotContent, StoredSnapshot
from vmpool.backends.docker import snapshots
from vmpool.backends.docker.engine import find_image
from vmpool.backends.docker.incoming import image_archive, image_config, nameless, take_layers
from vmpool.backends.docker.saved_images import contents_of, layers_of, saved
from vmpool.backends.docker.spec import (
    LABEL_BASE,
    LABEL_POOL,
    LABEL_SNAPSHOT,
    LABEL_TEMPLATE,
    snapshot_image,
)
from vmpool.backends.docker.storage import LABEL_DISK_LIMIT
from vmpool.backends.trees.vetting import TooLarge
from vmpool.errors import (
    BackendFailed,
    SnapshotDamaged,
    SnapshotMismatch,
    SnapshotNotFound,
    SnapshotTooLarge,
    Unsupported,
)
from vmpool.snapshot_file import Layer

HEADROOM = 2
"""Layers of so many disks' size together at most: what one layer replaces is in a lower one still."""


class SnapshotFiles:
    """Of one pool on one engine.

    prefix: before a template's name in its image's name.  directory: for what comes in, until the engine has
    it.  podman: it reads no image without the layers below.
    """

    def __init__(self, client: Docker, pool_id: str, prefix: str, directory: Path, podman: bool) -> None:
        self._client, self._pool_id, self._prefix = client, pool_id, prefix
        self._directory, self._podman = directory, podman

    async def _image(self, reference: str) -> dict[str, Any]:
        image = await find_image(self._client, snapshot_image(self._pool_id, reference))
        if image is None:
            raise SnapshotNotFound(reference)
        return dict(image)

    async def seal(self, reference: str) -> str:
        """The image's id, which is the checksum of all it is."""
        return str((await self._image(reference))["Id"])

    async def verify(self, reference: str, seal: str) -> None:
        """SnapshotDamaged unless it is that image, and the engine finds each layer as its checksum says."""
        try:
            image = await self._image(reference)
        except SnapshotNotFound:
            raise SnapshotDamaged("the engine has no such image any more") from None
        if image["Id"] != seal:
            raise SnapshotDamaged("another image has its name")
        async with saved(self._client, image["Id"]):
            pass  # the engine has looked through all of it before it answers

    @asynccontextmanager
    async def export(self, reference: str) -> AsyncIterator[SnapshotContent]:
        """See `SupportsSnapshotFiles`: the layers above the template's image."""
        image = await self._image(reference)
        labels = image["Config"].get("Labels") or {}
        base = snapshots.base_of(image)
        below = await find_image(self._client, base) if base else None
        if below is None:
            raise SnapshotMismatch("the template's image the snapshot stands on is gone from the engine")
        count = len(below["RootFS"]["Layers"])
        async with saved(self._client, image["Id"]) as pieces:
            contents = await contents_of(pieces)
        members = [contents.member(name) for name in contents.order[count:]]
        layers = [Layer(number, contents.sizes[name]) for number, name in enumerate(members, 1)]
        if not layers:
            raise BackendFailed("the engine's image has no layer of the snapshot's own")
        wanted: dict[str, list[Layer]] = {}
        for name, layer in zip(members, layers, strict=True):
            wanted.setdefault(name, []).append(layer)
        async with AsyncExitStack() as stack:
            again = await stack.enter_async_context(saved(self._client, image["Id"]))
            yield SnapshotContent(
                labels.get(LABEL_TEMPLATE, ""),
                base,
                int(labels.get(LABEL_DISK_LIMIT, 0)),
                tuple(layer.size for layer in layers),
                layers_of(again, wanted),
            )

    async def take_in(
        self, reference: str, spec: MachineSpec, base: str, pieces: AsyncIterator[Layer | bytes]
    ) -> StoredSnapshot:
        """See `SupportsSnapshotFiles`."""
        if self._podman:
            raise Unsupported("snapshot import", "docker", "Podman reads no layers without those below")
        below = await find_image(self._client, self._prefix + spec.template)
        if below is None or below["Id"] != base:  # never another's, whatever it is that is asked for
            raise SnapshotMismatch(
                f"the snapshot stands on another build of template '{spec.template}' ({base}) than is here",
                snapshot_base=base,
                host_base="" if below is None else below["Id"],
            )
        room = HEADROOM * spec.limits.disk * disks.MB
        await to_thread.run_sync(partial(self._directory.mkdir, parents=True, exist_ok=True))
        async with AsyncExitStack() as stack:

            def open_file() -> Any:
                return stack.enter_context(nameless(self._directory))

            try:
                layers = await take_layers(pieces, open_file, room)
            except TooLarge:
                raise SnapshotTooLarge(room, spec.limits.disk * disks.MB) from None
            name = snapshot_image(self._pool_id, reference)
            labels = {
                LABEL_POOL: self._pool_id,
                LABEL_TEMPLATE: spec.template,
                LABEL_BASE: base,
                LABEL_SNAPSHOT: reference,
                LABEL_DISK_LIMIT: str(spec.limits.disk),
            }
            config = image_config(below, labels, layers)
            archive = image_archive(name, config, len(below["RootFS"]["Layers"]), layers)
            await self._client.images.import_image(archive)
        image = await find_image(self._client, name)
        if image is None:
            raise BackendFailed("the engine took the snapshot and does not have it")
        return StoredSnapshot(reference, base, sum(layer.size for layer in layers))
