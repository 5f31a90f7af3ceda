"""The docker backend: what `base.Backend` promises, kept with the engine's calls."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

import anyio
from aiodocker import Docker
from anyio.abc import ByteStream

from vmpool.backends.base import (
    Backend,
    BackendInfo,
    Machine,
    MachineKey,
    MachineSpec,
    MachineState,
    SnapshotContent,
    StoredSnapshot,
    Usage,
)
from vmpool.backends.docker import pausing, snapshots, spares
from vmpool.backends.docker.agent_volume import agent_binary, drop_agent_volumes
from vmpool.backends.docker.claims import Claims, can_claim
from vmpool.backends.docker.containers import Containers, remove
from vmpool.backends.docker.description import description
from vmpool.backends.docker.dial import dial_agent
from vmpool.backends.docker.disk_images import DiskImages
from vmpool.backends.docker.ending import end, end_and_forget
from vmpool.backends.docker.engine import (
    Engine,
    connected,
    engine_facts,
    engine_host,
    has_bridge,
    machine_of,
    template_images,
)
from vmpool.backends.docker.errors import docker_errors
from vmpool.backends.docker.holding import Holding
from vmpool.backends.docker.local import NoSocket, NotLocal, dial_local, usage_local
from vmpool.backends.docker.machines import init_of, labels_of, layer_size, state_of, usage_from_stats
from vmpool.backends.docker.making import CLEANUP_SECONDS, Making
from vmpool.backends.docker.resizing import change
from vmpool.backends.docker.snapshot_files import SnapshotFiles
from vmpool.backends.docker.sources import Sources
from vmpool.backends.docker.spec import LABEL_SNAPSHOT, checked_pool_id, snapshot_image
from vmpool.backends.docker.storage import Storage, limit_of, storage_of
from vmpool.errors import AgentUnreachable, BackendFailed, BackendUnreachable, Unsupported
from vmpool.snapshot_file import Layer

ENGINE_SECONDS = 60
"""How long one engine call that must not be cut in half may take."""


class DockerBackend(Backend):
    """VMs as containers of one engine.

    pool_id: what belongs to this pool bears it, so that two pools on one engine leave each other alone.
    runtime: an OCI runtime's name ("runc", "crun", "runsc", "kata"), None for the engine's default.
    host: the engine's address, None for DOCKER_HOST or the usual sockets.  image_prefix: template `name`
    is the image `<image_prefix>name`.  agent: another build of the guest agent.  state_dir: of the backend's
    own; in it are only empty disks, formatted ahead: the engine holds everything else.  full_network: whether
    VMs may be on the engine's bridge, where it has one.
    """

    name = "docker"

    def __init__(
        self,
        state_dir: Path,
        *,
        pool_id: str,
        runtime: str | None = None,
        host: str | None = None,
        image_prefix: str = "vmpool/",
        agent: Path | None = None,
        disk_in_memory: bool = False,
        full_network: bool = False,
    ) -> None:
        self._pool_id = checked_pool_id(pool_id)
        self._runtime, self._host, self._prefix = runtime, host, image_prefix
        self._agent = agent
        self._disk_in_memory = disk_in_memory
        self._full_network = full_network
        self._images = Path(state_dir) / "images"
        self._holding = Holding()
        self._claims = Claims()
        self._creating: set[MachineKey] = set()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            host = self._host
            if host is None:
                host = await anyio.to_thread.run_sync(engine_host)
            self._client: Docker = await stack.enter_async_context(connected(host))
            with docker_errors("ask the engine what it is"):
                info = await self._client.system.info()
                bridge = self._full_network and await has_bridge(self._client)
            engine = replace(engine_facts(info, self._runtime), bridge=bridge)
            self._disks = DiskImages(host, self._images, self._disk_in_memory)
            self._engine: Engine = replace(engine, storage=await self._disks.settle(engine))
            agent = self._agent
            if agent is None:
                agent = await anyio.to_thread.run_sync(agent_binary, machine_of(info))
            self._containers = Containers(self._client, self._pool_id, self._engine, self._claims)
            self._making = Making(
                self._client,
                self._pool_id,
                self._runtime,
                self._engine,
                self._containers,
                self._claims,
                self._disks,
                Sources(self._client, self._pool_id, self._prefix, agent),
            )
            self._snapshot_files = SnapshotFiles(
                self._client, self._pool_id, self._prefix, self._images, self._engine.podman
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with anyio.move_on_after(CLEANUP_SECONDS, shield=True):
            async with self._stack:
                # Only what no VM stands on goes: the engine refuses the rest.  One that went away keeps all.
                with suppress(BackendUnreachable), docker_errors("remove unused agent volumes"):
                    await drop_agent_volumes(self._client, self._pool_id)

    async def describe(self) -> BackendInfo:
        """The engine's version, its runtime as isolation, and which templates have an image."""
        with docker_errors("list the engine's images"):
            templates = await template_images(self._client, self._prefix)
        return description(self._engine, templates)

    async def create(self, key: MachineKey, spec: MachineSpec) -> Machine:
        """One container; a second call with its key finds the first one's by the name's uniqueness."""
        async with self._holding(key):
            self._creating.add(key)
            try:
                with docker_errors(f"create {key}"):
                    return await self._making.create(key, spec)
            finally:
                self._creating.discard(key)

    async def inspect(self, key: MachineKey) -> Machine | None:
        """By the container's name."""
        with docker_errors(f"inspect {key}"):
            facts = await self._containers.facts(key)
        if facts is None:
            return None
        machine = self._containers.machine(key, facts)
        return replace(machine, state=MachineState.CREATING) if key in self._creating else machine

    async def list(self) -> builtins.list[Machine]:
        """By the pool's label."""
        with docker_errors("list the containers"):
            machines = await self._containers.list()
        return [
            replace(machine, state=MachineState.CREATING) if machine.key in self._creating else machine
            for machine in machines
        ]

    async def start(self, key: MachineKey) -> Machine:
        """The same container again, its files as they were, with a fresh agent."""
        async with self._holding(key):
            with docker_errors(f"start {key}"):
                return await self._making.start(key)

    async def stop(self, key: MachineKey) -> None:
        """SIGKILL to the agent and so to all; the container stays."""
        async with self._holding(key):
            with docker_errors(f"stop {key}"):
                facts = await self._containers.facts(key)
                if facts is None or self._containers.machine(key, facts).state is (MachineState.CREATING):
                    raise BackendFailed(f"{key} is not there to be stopped; recreate the VM")
                self._claims.standing.pop(key, None)
                container = self._containers.at(key)
                facts = await pausing.let_go(container, facts)
                init = init_of(facts)
                if init is not None:
                    await end(container, init, self._containers.isolation(facts))
                await self._disks.write_out(facts)

    async def destroy(self, key: MachineKey) -> None:
        """The container with its layer, and the image of a deleted snapshot that only it still held."""
        async with self._holding(key):
            with docker_errors(f"destroy {key}"):
                facts = await self._containers.facts(key)
                if facts is None:
                    self._claims.settled(key)
                    return
                with anyio.CancelScope(shield=True, deadline=anyio.current_time() + ENGINE_SECONDS):
                    self._claims.standing.pop(key, None)
                    container = self._containers.at(key)
                    facts = await pausing.let_go(container, facts)
                    init = init_of(facts)
                    if init is not None:
                        await end_and_forget(container, init, self._containers.isolation(facts))
                    await self._disks.take_away(facts)
                    await remove(self._client, facts["Id"])
                    self._claims.settled(key)
                    if LABEL_SNAPSHOT in (facts["Config"].get("Labels") or {}):
                        await snapshots.drop_if_forgotten(self._client, facts["Image"])

    async def dial(self, key: MachineKey) -> ByteStream:
        """The agent's own socket where it can be reached, else a stub through the engine's exec."""
        standing = self._claims.standing.get(key)
        if standing is not None:
            try:
                return await dial_local(standing.init)
            except (NotLocal, NoSocket):
                self._claims.standing.pop(key, None)  # it does not run as it did: ask the engine
        with docker_errors(f"dial {key}"):
            facts = await self._containers.facts(key)
            if facts is None or key in self._creating:
                raise AgentUnreachable(f"{key} has no agent to be reached")
            return await dial_agent(self._containers.at(key), facts, self._containers.isolation(facts))

    async def usage(self, key: MachineKey) -> Usage:
        """The cgroup's figures where they can be read, else the engine's; disk: its own, or the layer."""
        with docker_errors(f"measure {key}"):
            facts = await self._containers.facts(key)
            init = init_of(facts) if facts is not None else None
            if facts is None or init is None:
                return Usage()
            try:
                figures = await usage_local(init)
            except NotLocal:
                stats = await self._containers.at(key).stats(stream=False)
                figures = usage_from_stats(stats[0] if stats else {})
            disk = await self._disks.used(facts)
            if disk is None:  # the engine counts file by file
                facts = await self._containers.facts(key, size=True)
                disk = None if facts is None else layer_size(facts)
            return replace(figures, disk_bytes=disk)

    async def snapshot(self, key: MachineKey, reference: str) -> StoredSnapshot:
        """An image of the container's layer over its template's, taken while every process is frozen."""
        name = snapshot_image(self._pool_id, reference)
        async with self._holding(key):
            with docker_errors(f"keep the files of {key}"):
                facts = await self._containers.facts(key)
                if facts is None:
                    raise BackendFailed(f"{key} is not there to be kept")
                if storage_of(labels_of(facts)) is Storage.MEMORY:
                    raise Unsupported("snapshot", self.name, "the VM's files are in memory")
                await self._disks.put_back(facts)
                limit = limit_of(labels_of(facts))
                return await snapshots.keep(self._client, self._containers.at(key), name, limit)

    async def delete_snapshot(self, reference: str) -> None:
        """Its name goes; its layers stay for as long as a VM or another snapshot stands on them."""
        with docker_errors(f"delete snapshot {reference}"):
            await snapshots.delete(self._client, snapshot_image(self._pool_id, reference))

    async def list_snapshots(self) -> builtins.list[StoredSnapshot]:
        """By the pool's label."""
        with docker_errors("list the snapshots"):
            return await snapshots.listed(self._client, self._pool_id)

    async def seal_snapshot(self, reference: str) -> str:
        """See `SupportsSnapshotFiles`."""
        with docker_errors(f"look at snapshot {reference}"):
            return await self._snapshot_files.seal(reference)

    async def verify_snapshot(self, reference: str, seal: str) -> None:
        """See `SupportsSnapshotFiles`: the engine compares every layer with its checksum."""
        with docker_errors(f"verify snapshot {reference}"):
            await self._snapshot_files.verify(reference, seal)

    @asynccontextmanager
    async def export_snapshot(self, reference: str) -> AsyncIterator[SnapshotContent]:
        """See `SupportsSnapshotFiles`."""
        with docker_errors(f"export snapshot {reference}"):
            async with self._snapshot_files.export(reference) as content:
                yield content

    async def import_snapshot(
        self, reference: str, spec: MachineSpec, base: str, pieces: AsyncIterator[Layer | bytes]
    ) -> StoredSnapshot:
        """See `SupportsSnapshotFiles`."""
        with docker_errors(f"import snapshot {reference}"):
            return await self._snapshot_files.take_in(reference, spec, base, pieces)

    async def resize(self, key: MachineKey, spec: MachineSpec) -> Machine:
        """See `SupportsResize`: the engine's own update, and the disk of a container that does not run."""
        async with self._holding(key):
            with docker_errors(f"change the limits of {key}"):
                await self._containers.record_claim(key)
                facts = await self._containers.facts(key)
                if facts is None or state_of(facts["State"]["Status"]) is MachineState.CREATING:
                    raise BackendFailed(f"{key} is not there to be changed")
                await change(self._client, self._disks, facts, spec.limits, self._containers.isolation(facts))
                return self._containers.machine(key, facts)

    async def pause(self, key: MachineKey) -> None:
        """See `SupportsPause`."""
        async with self._holding(key):
            with docker_errors(f"pause {key}"):
                if await self._containers.facts(key) is None:
                    raise BackendFailed(f"{key} is not there to be paused")
                await pausing.pause(self._containers.at(key))

    async def resume(self, key: MachineKey) -> None:
        """See `SupportsPause`."""
        async with self._holding(key):
            with docker_errors(f"resume {key}"):
                facts = await self._containers.facts(key)
                if facts is None:
                    raise BackendFailed(f"{key} is not there to be resumed")
                await pausing.let_go(self._containers.at(key), facts)

    def can_claim(self, made: MachineSpec, asked: MachineSpec) -> bool:
        """Where template, network and disk are the same: the engine and the kernel change the rest."""
        return can_claim(made, asked)

    async def claim(self, spare: MachineKey, key: MachineKey, spec: MachineSpec) -> Machine:
        """The kernel changes hostname and limits at once; the engine is told by `settle`."""
        async with self._holding(spare), self._holding(key):
            standing = self._claims.standing.pop(spare, None)
            if standing is None:
                raise BackendFailed(f"{spare} is no running spare of this server")
            await spares.dress_claimed(standing, spec)
            self._claims.claim(key, standing.init.container_id, spec)
            self._claims.standing[key] = standing
        return spares.claimed_machine(key, standing, self._engine)

    async def settle(self, container_id: str, key: MachineKey, spec: MachineSpec) -> None:
        """Limits into the engine's records, the hostname into the kernel's, and last the name."""
        async with self._holding(key):
            with docker_errors(f"settle {key}"):
                await self._containers.record(container_id, key, spec)

    async def outdated_spares(self) -> builtins.list[MachineKey]:
        """By the image their container stands on."""
        with docker_errors("look for outdated spares"):
            return await spares.outdated(self._client, self._pool_id, self._prefix, self._claims)
