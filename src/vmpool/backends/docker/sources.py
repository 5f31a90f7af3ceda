"""What a container is made from: an image of a template or a snapshot, and the volume with the agent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import anyio
from aiodocker import Docker

from vmpool.backends.base import MachineSpec
from vmpool.backends.docker import snapshots
from vmpool.backends.docker.agent_volume import fill_agent_volume
from vmpool.backends.docker.engine import find_image
from vmpool.backends.docker.spec import LABEL_TEMPLATE, snapshot_image
from vmpool.errors import SnapshotMismatch, SnapshotNotFound, TemplateNotFound


@dataclass(frozen=True, slots=True)
class Source:
    """image: the id of what is started from.  base: of the template's image it stands on.  ours: its home
    directory is known to be there.  size: of the image, in bytes.
    """

    image: str
    base: str
    ours: bool
    size: int


class Sources:
    """Looks images up, and fills the agent's volume once.

    prefix: before a template's name in its image's name.  agent: the guest agent's binary.
    """

    def __init__(self, client: Docker, pool_id: str, prefix: str, agent: Path) -> None:
        self._client, self._pool_id, self._prefix, self._agent = client, pool_id, prefix, agent
        self._filling = anyio.Lock()
        self._filled: str | None = None

    async def of(self, spec: MachineSpec) -> Source:
        """TemplateNotFound, SnapshotNotFound, SnapshotMismatch."""
        if spec.snapshot is not None:
            return await self._of_snapshot(spec.template, spec.snapshot)
        image = await find_image(self._client, self._prefix + spec.template)
        if image is None:
            raise TemplateNotFound(spec.template)
        labels = (image.get("Config") or {}).get("Labels") or {}
        return Source(image["Id"], image["Id"], labels.get(LABEL_TEMPLATE) == spec.template, image["Size"])

    async def _of_snapshot(self, template: str, reference: str) -> Source:
        stored = await find_image(self._client, snapshot_image(self._pool_id, reference))
        if stored is None:
            raise SnapshotNotFound(reference)
        taken_of = (stored["Config"].get("Labels") or {}).get(LABEL_TEMPLATE)
        if taken_of != template:
            raise SnapshotMismatch(f"the snapshot was taken of a '{taken_of}' VM, not of '{template}'")
        return Source(stored["Id"], snapshots.base_of(stored), True, stored["Size"])

    async def agent_volume(self, image: str) -> str:
        """The volume with the agent; `image` serves to fill it."""
        async with self._filling:
            if self._filled is None:
                self._filled = await fill_agent_volume(self._client, self._pool_id, self._agent, image)
            return self._filled
