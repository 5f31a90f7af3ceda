"""Making and starting a container: on its disk, with its agent, and known to run when this returns."""

from __future__ import annotations

from typing import Any

import anyio
from aiodocker import Docker
from aiodocker.containers import DockerContainer

from vmpool.backends.base import Machine, MachineKey, MachineSpec, MachineState
from vmpool.backends.docker import spares
from vmpool.backends.docker.agent_volume import home_archive
from vmpool.backends.docker.claims import Claims
from vmpool.backends.docker.containers import Containers, create_or_find, remove
from vmpool.backends.docker.dial import wait_for_agent
from vmpool.backends.docker.disk_images import DiskImages
from vmpool.backends.docker.engine import Engine
from vmpool.backends.docker.pausing import is_paused
from vmpool.backends.docker.route import route_every_address
from vmpool.backends.docker.sources import Source, Sources
from vmpool.backends.docker.spec import Placement, container_config, container_name
from vmpool.backends.docker.storage import Storage
from vmpool.errors import BackendFailed

CLEANUP_SECONDS = 15
"""How long a failed create may take to remove what it made; after that the reconciler finds it."""


class Making:
    """From a specification, or a container that does not run, to one that does.

    runtime: as the backend's.
    """

    def __init__(
        self,
        client: Docker,
        pool_id: str,
        runtime: str | None,
        engine: Engine,
        containers: Containers,
        claims: Claims,
        disks: DiskImages,
        sources: Sources,
    ) -> None:
        self._client, self._pool_id, self._runtime, self._engine = client, pool_id, runtime, engine
        self._containers, self._claims, self._disks, self._sources = containers, claims, disks, sources

    async def create(self, key: MachineKey, spec: MachineSpec) -> Machine:
        """The key's container, running; one that is there is started.  A failure leaves none that it made."""
        if self._claims.of(key) is not None:
            return await self.start(key)
        source = await self._sources.of(spec)
        engine = self._engine.offering(spec.isolation)
        placement = await self._placement(engine, source)
        config = container_config(key, spec, source.image, source.base, placement, source.size)
        name = container_name(self._pool_id, key)
        made = False
        try:
            # Cut in half, this call would leave a container that nobody knows of.
            with anyio.CancelScope(shield=True):
                container, made = await create_or_find(self._client, name, config)
            await anyio.lowlevel.checkpoint()
            facts = await container.show()
            if is_paused(facts):
                self._claims.stands(key, facts, spec)
                return self._containers.machine(key, facts)
            await self._disks.put(facts, spec.limits.disk)
            if made and not source.ours and engine.storage is not Storage.MEMORY:
                await container.put_archive("/", home_archive())
            await container.start()
            facts = await self._standing(container, engine.isolation)
            self._claims.stands(key, facts, spec)
            if key.is_spare:
                await spares.check(self._claims.standing[key])
        except BaseException:
            self._claims.standing.pop(key, None)
            if made:
                await self._undo(name)
            raise
        return self._containers.machine(key, facts)

    async def start(self, key: MachineKey) -> Machine:
        """The same container again; BackendFailed where there is none, or one that was never started."""
        claim = await self._containers.record_claim(key)  # the engine starts it with the limits it knows of
        facts = await self._containers.facts(key)
        if facts is None or self._containers.machine(key, facts).state is MachineState.CREATING:
            raise BackendFailed(f"{key} is not there to be started; recreate the VM")
        if is_paused(facts):
            return self._containers.machine(key, facts)
        container = self._containers.at(key)
        await self._disks.put_back(facts)
        await container.start()
        facts = await self._standing(container, self._containers.isolation(facts))
        if claim is not None:
            await self._containers.record(claim.container_id, key, claim.spec)
        return self._containers.machine(key, facts)

    async def _placement(self, engine: Engine, source: Source) -> Placement:
        return Placement(
            self._pool_id,
            await self._sources.agent_volume(source.image),
            self._runtime if engine is self._engine else engine.runtime,
            engine.isolation,
            engine.podman,
            engine.runtime,
            engine.storage,
        )

    async def _standing(self, container: DockerContainer, isolation: str) -> dict[str, Any]:
        """The engine's answer about a container that was started, once its agent can be dialled."""
        facts = await wait_for_agent(container, isolation)
        if isolation == "container":
            await self._disks.check(facts)
            await route_every_address(facts)
        return facts

    async def _undo(self, name: str) -> None:
        with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
            await remove(self._client, name)
