"""Which containers have a disk image over their layer, and keeping it there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread

from vmpool.backends.docker.engine import Engine
from vmpool.backends.docker.layers import Layers
from vmpool.backends.docker.local import NotLocal
from vmpool.backends.docker.machines import init_of
from vmpool.backends.docker.storage import Storage, layer_of, storage_of
from vmpool.errors import BackendFailed

T = TypeVar("T")

logger = logging.getLogger(__name__)


class DiskImages:
    """Disk images on one engine.

    address: the engine's.  images: a directory for empty formatted disks, by size.  in_memory: where there
    can be no images, keep the files in memory.
    """

    def __init__(self, address: str, images: Path, in_memory: bool) -> None:
        self._in_memory = in_memory
        local = address.startswith("unix://")
        self._layers = Layers(address.removeprefix("unix://"), images) if local else None

    async def settle(self, engine: Engine) -> Storage:
        """What is to hold the disk limit of new containers, tried on this host."""
        if await self._can_lie_over_layers(engine):
            return Storage.IMAGE
        if engine.driver == "btrfs":
            return Storage.QUOTA
        can = self._in_memory and not engine.podman and engine.isolation == "container"
        return Storage.MEMORY if can else Storage.FILES

    async def _can_lie_over_layers(self, engine: Engine) -> bool:
        if self._layers is None or engine.driver != "overlay2":
            return False
        try:
            await to_thread.run_sync(self._layers.prove, engine.data_root)
        except (NotLocal, BackendFailed, OSError) as why:
            logger.info("no disk image can lie over a container's layer: %s", why)
            return False
        return True

    async def put(self, facts: Mapping[str, Any], megabytes: int) -> None:
        """Before a container's first start: the disk over its layer, if it is to have one."""
        await self._do(facts, lambda layers, layer: layers.put(layer, megabytes))

    async def put_back(self, facts: Mapping[str, Any]) -> None:
        """Before any other start, and before its files are read: the disk it has, wherever that went."""
        await self._do(facts, lambda layers, layer: layers.put_back(layer))

    async def check(self, facts: Mapping[str, Any]) -> None:
        """BackendFailed unless a running container's root is on the disk.

        A mount the engine does not see would leave the limit on paper only.
        """
        init = init_of(facts)
        if init is not None:
            await self._do(facts, lambda layers, layer: layers.check(layer, init))

    async def size(self, facts: Mapping[str, Any]) -> int | None:
        """MB of the container's disk; None where it has none of its own."""
        return await self._do(facts, lambda layers, layer: layers.size(layer))

    async def used(self, facts: Mapping[str, Any]) -> int | None:
        """Bytes in use on the container's disk; None where it has none of its own, or it cannot be seen."""
        try:
            return await self._do(facts, lambda layers, layer: layers.used(layer))
        except BackendFailed:
            return None

    async def grow(self, facts: Mapping[str, Any], megabytes: int) -> None:
        """The disk of a container that does not run becomes larger."""
        await self._do(facts, lambda layers, layer: layers.grow(layer, megabytes))

    async def write_out(self, facts: Mapping[str, Any]) -> None:
        """After its last process: what it wrote is on the host's disk."""
        await self._do(facts, lambda layers, layer: layers.write_out(layer))

    async def take_away(self, facts: Mapping[str, Any]) -> None:
        """Before the container is removed."""
        if self._layers is not None:
            await self._do(facts, lambda layers, layer: layers.take_away(layer))

    async def _do(self, facts: Mapping[str, Any], act: Callable[[Layers, str], T]) -> T | None:
        """What `act` answers, in a thread; None for a container that has no such disk."""
        if storage_of(facts["Config"].get("Labels")) is not Storage.IMAGE:
            return None
        layer = layer_of(facts)
        if self._layers is None or layer is None:
            raise BackendFailed("the VM's disk is an image on the engine's host; start the server there")
        try:
            return await to_thread.run_sync(act, self._layers, layer)
        except (NotLocal, OSError) as error:
            raise BackendFailed(f"the VM's disk cannot be reached: {error}") from error
