"""Containers made before anybody asked, and how one becomes a VM's."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from anyio import to_thread

from vmpool.backends.base import Machine, MachineKey, MachineSpec, MachineState
from vmpool.backends.docker.claims import Claims, Standing, standing_of, update_body
from vmpool.backends.docker.dress import Dress, put_on
from vmpool.backends.docker.engine import Engine, template_images
from vmpool.backends.docker.errors import is_missing
from vmpool.backends.docker.local import NotLocal
from vmpool.backends.docker.machines import init_of, labels_of
from vmpool.backends.docker.spec import LABEL_POOL, container_name, key_of_name
from vmpool.errors import BackendFailed, Unsupported


def can_have_spares(engine: Engine) -> bool:
    """Whether a running container can get another hostname here: by root, where the host's kernel runs it.

    An engine on another host shows only when a spare is made: `check`.
    """
    return engine.isolation == "container" and not engine.podman and os.geteuid() == 0


async def check(standing: Standing) -> None:
    """Unsupported, with the reason, unless this spare could be claimed from here."""
    try:
        await _change(standing, Dress(standing.made.hostname))
    except NotLocal as error:
        raise Unsupported("spares", "docker", str(error)) from error


async def dress_claimed(standing: Standing, spec: MachineSpec) -> None:
    """Make a running spare what `spec` asks for; BackendFailed where it does not run any more."""
    limits = None if standing.made.limits == spec.limits else spec.limits
    try:
        await _change(standing, Dress(spec.hostname, limits))
    except NotLocal as error:
        raise BackendFailed(f"the spare cannot be claimed: {error}") from error


async def record(
    client: Docker, pool_id: str, engine: Engine, container_id: str, key: MachineKey, spec: MachineSpec
) -> None:
    """Make the engine's records say what the container has become; the name last.

    One that is no more is left alone.  What a start resets, the hostname, is set again.
    """
    container: DockerContainer = client.containers.container(container_id)
    try:
        facts = await container.show()
    except DockerError as error:
        if is_missing(error):
            return
        raise
    if body := update_body(facts, spec.limits, engine.running(labels_of(facts)).isolation):
        await client._query_json(f"containers/{container_id}/update", method="POST", data=body)
    init = init_of(facts)
    if init is not None and facts["Config"]["Hostname"] != spec.hostname:
        try:
            await _change(standing_of(init, facts, spec), Dress(spec.hostname))
        except NotLocal as error:
            raise BackendFailed(f"the hostname cannot be set: {error}") from error
    name = container_name(pool_id, key)
    if facts["Name"].removeprefix("/") != name:
        await container.rename(name)


async def outdated(client: Docker, pool_id: str, prefix: str, claims: Claims) -> list[MachineKey]:
    """Unclaimed spares whose template has another image by now, or none."""
    images = set((await template_images(client, prefix)).values())
    wanted = json.dumps({"label": [f"{LABEL_POOL}={pool_id}"]})
    found = []
    for entry in await client.containers.list(all=True, filters=wanted):
        facts = entry._container
        for name in facts.get("Names") or ():
            key = key_of_name(pool_id, name.removeprefix("/"))
            if key is not None and key.is_spare and claims.owner(facts["Id"]) is None:
                if facts["ImageID"] not in images:
                    found.append(key)
    return found


def claimed_machine(key: MachineKey, standing: Standing, engine: Engine) -> Machine:
    """The machine a spare has become."""
    warnings = replace(engine, storage=standing.storage).warnings()
    return Machine(key, MachineState.RUNNING, standing.init.container_id, engine.isolation, warnings)


def as_claimed(machine: Machine, claims: Claims) -> Machine:
    """A machine of the engine's list under the key it has by now."""
    owner = claims.owner(machine.container_id)
    return machine if owner is None else replace(machine, key=owner)


async def _change(standing: Standing, dress: Dress) -> None:
    await to_thread.run_sync(put_on, standing.init, standing.hostname_file, dress)
