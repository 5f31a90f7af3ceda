"""Other limits for a container that is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiodocker import Docker

from vmpool.backends.docker.claims import update_body
from vmpool.backends.docker.disk_images import DiskImages
from vmpool.backends.docker.machines import init_of
from vmpool.backends.docker.spec import MB, pids_limit
from vmpool.backends.docker.storage import Storage, storage_of
from vmpool.domain import Limits
from vmpool.errors import Unsupported

NAME = "docker"


async def change(
    client: Docker, disks: DiskImages, facts: Mapping[str, Any], asked: Limits, isolation: str
) -> None:
    """The engine's own update, and the disk of a container that does not run; see `SupportsResize`."""
    disk = await disks.size(facts)
    refuse(facts, asked, isolation, init_of(facts) is not None, disk)
    if disk is not None and asked.disk > disk:
        await disks.grow(facts, asked.disk)
    if body := update_body(facts, asked, isolation):
        await client._query_json(f"containers/{facts['Id']}/update", method="POST", data=body)


def refuse(facts: Mapping[str, Any], asked: Limits, isolation: str, running: bool, disk: int | None) -> None:
    """Unsupported for what cannot be changed as things are.

    facts: the engine's full answer about the container.  disk: MB of the image over its layer, if it has one.
    """
    if disk is not None:
        if asked.disk < disk:
            raise Unsupported("disk_limit", NAME, "a disk only grows")
        if asked.disk > disk and running:
            raise Unsupported("disk_limit", NAME, "a running VM's disk does not grow; stop it first")
    elif storage_of(facts["Config"].get("Labels")) is not Storage.IMAGE and asked.disk != _file_size(facts):
        raise Unsupported("disk_limit", NAME, "the engine keeps it for a container's life")
    if running and isolation != "container" and _others_change(facts["HostConfig"], asked, isolation):
        raise Unsupported("limits", NAME, f"{isolation} cannot change them while the VM runs; stop it first")


def _file_size(facts: Mapping[str, Any]) -> int | None:
    """MB of a file's largest size, which is all that holds the disk limit then."""
    for limit in facts["HostConfig"].get("Ulimits") or ():
        if limit.get("Name") == "fsize":
            return int(limit["Soft"]) // MB
    return None


def _others_change(recorded: Mapping[str, Any], asked: Limits, isolation: str) -> bool:
    return (recorded.get("NanoCpus"), recorded.get("Memory"), recorded.get("PidsLimit")) != (
        round(asked.cpu * 1_000_000_000),
        asked.memory * MB,
        pids_limit(asked.processes, isolation),
    )
