"""The engine's containers: made once by name, found by key, removed for good."""

from __future__ import annotations

import builtins
import json
from typing import Any

import anyio
from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError

from vmpool.backends.base import Machine, MachineKey, MachineSpec
from vmpool.backends.docker import spares
from vmpool.backends.docker.claims import Claim, Claims
from vmpool.backends.docker.engine import Engine
from vmpool.backends.docker.errors import is_conflict, is_missing
from vmpool.backends.docker.machines import labels_of, machine_from_inspection, machine_from_listing
from vmpool.backends.docker.spec import LABEL_POOL, JSONDict, container_name
from vmpool.errors import BackendFailed


class Containers:
    """Those of one pool, each by the key it has by now, which its name need not say yet.

    claims: what this process knows of that.
    """

    def __init__(self, client: Docker, pool_id: str, engine: Engine, claims: Claims) -> None:
        self._client, self._pool_id, self._engine, self._claims = client, pool_id, engine, claims

    def at(self, key: MachineKey) -> DockerContainer:
        """By name, or by id where the name is still another's."""
        claim = self._claims.of(key)
        name = container_name(self._pool_id, key) if claim is None else claim.container_id
        return self._client.containers.container(name)

    async def facts(self, key: MachineKey, **options: bool) -> dict[str, Any] | None:
        """The engine's full answer about the key's container, None if there is none."""
        try:
            facts = await self.at(key).show(**options)
            return facts if self._claims.owner(facts["Id"]) in (None, key) else None
        except DockerError as error:
            if is_missing(error):
                return None
            raise

    async def list(self) -> builtins.list[Machine]:
        """All of them, by the pool's label."""
        wanted = json.dumps({"label": [f"{LABEL_POOL}={self._pool_id}"]})
        entries = await self._client.containers.list(all=True, filters=wanted)
        found = [machine_from_listing(entry._container, self._pool_id, self._engine) for entry in entries]
        return [spares.as_claimed(machine, self._claims) for machine in found if machine is not None]

    def machine(self, key: MachineKey, facts: dict[str, Any]) -> Machine:
        """What the engine's full answer means."""
        return machine_from_inspection(key, facts, self._engine)

    def isolation(self, facts: dict[str, Any]) -> str:
        """By what the container is kept apart."""
        return self._engine.running(labels_of(facts)).isolation

    async def record(self, container_id: str, key: MachineKey, spec: MachineSpec) -> None:
        """Have the engine's records, last the name, say that the container is the key's and to this spec."""
        if self._claims.of(key) is None:
            self._claims.claim(key, container_id, spec)
        await spares.record(self._client, self._pool_id, self._engine, container_id, key, spec)
        self._claims.settled(key)

    async def record_claim(self, key: MachineKey) -> Claim | None:
        """The same for a key whose claim the engine has not been told of; that claim."""
        claim = self._claims.of(key)
        if claim is not None:
            await self.record(claim.container_id, key, claim.spec)
        return claim


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
