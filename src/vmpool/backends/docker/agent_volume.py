"""The volume from which every VM takes its agent.

A volume is the engine's own, so the same few lines serve local and remote engines and any image, and no
path of the host shows inside.  It is named by what it holds: a newer server brings another one, and VMs
keep the one they were made with.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from anyio import CancelScope, move_on_after, to_thread

import vmpool
from vmpool.backends.docker.errors import is_conflict, is_missing
from vmpool.backends.docker.spec import AGENT, AGENT_DIR, LABEL_POOL, JSONDict
from vmpool.errors import BackendFailed

CLEANUP_SECONDS = 15
WARM_SUFFIXES = (".js", ".class", ".java")


def agent_binary(machine: str) -> Path:
    """The guest agent for a processor ("x86_64", "aarch64"); BackendFailed if it was never built."""
    path = Path(vmpool.__file__).parent / "bin" / f"vmpool-agent-{machine}"
    if not path.is_file():
        raise BackendFailed(f"there is no guest agent for {machine}; build it with `make agent`")
    return path


def shown_files(agent: Path) -> dict[str, bytes]:
    """What a VM finds beside its agent: the agent, and what warm interpreters read where it was built."""
    warm = (path for path in sorted(agent.parent.glob("warm_*")) if path.suffix in WARM_SUFFIXES)
    return {Path(AGENT).name: agent.read_bytes(), **{path.name: path.read_bytes() for path in warm}}


def volume_name(pool_id: str, files: Mapping[str, bytes]) -> str:
    """One volume per pool and build of the agent: pools do not take each other's away."""
    seen = hashlib.sha256()
    for name, data in sorted(files.items()):
        seen.update(f"{name} {len(data)}\n".encode() + data)
    return f"vmpool-agent-{pool_id}-{seen.hexdigest()[:12]}"


async def fill_agent_volume(client: Docker, pool_id: str, path: Path, image: str) -> str:
    """Make sure that the volume is there and holds the agent; its name.

    The engine writes into a volume only through a container: one of `image` is made, never started, and
    removed.
    """
    files = await to_thread.run_sync(shown_files, path)
    name = volume_name(pool_id, files)
    await client.volumes.create({"Name": name, "Labels": {LABEL_POOL: pool_id}})
    mount: JSONDict = {
        "Type": "volume",
        "Source": name,
        "Target": AGENT_DIR,
        "VolumeOptions": {"NoCopy": True},
    }
    config: JSONDict = {
        "Image": image,
        "Entrypoint": [AGENT],
        "NetworkDisabled": True,
        "HostConfig": {"Mounts": [mount], "NetworkMode": "none", "LogConfig": {"Type": "none"}},
    }
    with CancelScope(shield=True):
        helper = await _create_helper(client, name, config)
    try:
        try:
            await helper.get_archive(AGENT)
        except DockerError as error:
            if not is_missing(error):
                raise
            await helper.put_archive(AGENT_DIR, _archive(files))
    finally:
        with move_on_after(CLEANUP_SECONDS, shield=True):
            await helper.delete(force=True)
    return name


async def _create_helper(client: Docker, name: str, config: JSONDict) -> DockerContainer:
    try:
        return await client.containers.create(config, name=name)
    except DockerError as error:
        if not is_conflict(error):
            raise
    # Left by a server that was killed at this very point: one server owns a pool, so nobody uses it.
    await client.containers.container(name).delete(force=True)
    return await client.containers.create(config, name=name)


async def drop_agent_volumes(client: Docker, pool_id: str) -> None:
    """Remove this pool's volumes that no VM uses."""
    listing = await client.volumes.list(filters={"label": [f"{LABEL_POOL}={pool_id}"]})
    for entry in listing.get("Volumes") or ():
        try:
            await (await client.volumes.get(entry["Name"])).delete()
        except DockerError as error:
            if not (is_conflict(error) or is_missing(error)):
                raise


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o555
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def home_archive() -> bytes:
    """The user's home and a /tmp, for an image that is not one of ours and may have neither."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, mode, owner in (("home", 0o755, 0), ("home/user", 0o755, 1000), ("tmp", 0o1777, 0)):
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(entry)
    return buffer.getvalue()
