"""What a VM is in the engine's words: pure functions of values."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.docker.storage import LABEL_DISK, LABEL_DISK_LIMIT, Storage
from vmpool.domain.language import VM_PATH
from vmpool.domain.limits import (
    CORE_BYTES,
    OPEN_FILES_HARD,
    OPEN_FILES_SOFT,
    SHARED_MEMORY_MB,
    TERMINALS,
    Limits,
    tmpfs_options,
)
from vmpool.errors import InvalidRequest

JSONDict = dict[str, Any]
"""A body of the engine's API."""

MB = 2**20

LABEL_POOL = "vmpool.pool"
LABEL_KEY = "vmpool.key"
LABEL_SPEC = "vmpool.spec"
LABEL_TEMPLATE = "vmpool.template"
LABEL_RUNTIME = "vmpool.runtime"
LABEL_SNAPSHOT = "vmpool.snapshot"
LABEL_BASE = "vmpool.base"
LABEL_CALLER = "vmpool.label."
"""Prefix of the caller's own labels, which so cannot pass for ours."""

USER = "1000:1000"
AGENT_DIR = "/.vmpool"
AGENT = f"{AGENT_DIR}/vmpool-agent"
SOCKET_DIR = "/run/vmpool"
SOCKET = f"{SOCKET_DIR}/agent.sock"
HOME = "/home/user"
_SOCKET_TMPFS = "rw,noexec,nosuid,nodev,size=64k,mode=1777"
"""Open to all: runc forgets the mode on a second start and keeps the owner, crun forgets neither."""
_SOCKET_FILES = "nr_inodes=16"
_OWNER = "uid=1000,gid=1000"

_PAGE = 4096
"""Bytes of the engine host's pages, at least."""
_READ_ONLY = (
    *("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"),  # the engine's own list
    "/sys/fs/cgroup",  # a tmpfs without a size where version 1 has a namespace of its own
)

_POOL_ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_REFERENCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how on one engine: the same for every VM of a pool with one isolation.

    runtime: the OCI runtime's name, None for the engine's default.  agent_volume: the volume that holds
    the agent's binary.  isolation: what kind of wall the runtime builds.  podman: the engine is Podman,
    whose tmpfs take no owner.  made_with: the runtime's name, also where it is the engine's default.
    storage: what holds the disk limit.
    """

    pool_id: str
    agent_volume: str
    runtime: str | None = None
    isolation: str = "container"
    podman: bool = False
    made_with: str = "runc"
    storage: Storage = Storage.FILES


def checked_pool_id(pool_id: str) -> str:
    """`pool_id` if it can be part of the engine's names; InvalidRequest otherwise."""
    if not _POOL_ID.fullmatch(pool_id):
        raise InvalidRequest("pool_id", f"'{pool_id}' must be 1 to 63 of [a-z0-9_.-]")
    return pool_id


def container_name(pool_id: str, key: MachineKey) -> str:
    """The name under which the engine keeps a machine; it makes creating idempotent."""
    return f"vmpool-{pool_id}-{key}"


def key_of_name(pool_id: str, name: str) -> MachineKey | None:
    """The inverse of `container_name`; None for any other name."""
    prefix = f"vmpool-{pool_id}-"
    if not name.startswith(prefix):
        return None
    try:
        return MachineKey.parse(name.removeprefix(prefix))
    except InvalidRequest:
        return None


def snapshot_image(pool_id: str, reference: str) -> str:
    """The image that holds a snapshot; InvalidRequest if `reference` cannot be an image's tag."""
    if not _REFERENCE.fullmatch(reference):
        raise InvalidRequest("reference", f"'{reference}' must be 1 to 128 of [A-Za-z0-9_.-]")
    return f"vmpool-snap/{pool_id}:{reference}"


def spec_digest(spec: MachineSpec) -> str:
    """A short fingerprint of everything asked for."""
    text = json.dumps(asdict(spec), sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def container_config(
    key: MachineKey, spec: MachineSpec, image: str, base: str, placement: Placement, image_size: int = 0
) -> JSONDict:
    """The body of the engine's "create a container".

    image: what the container starts from, of image_size bytes.  base: the id of the template's image it
    stands on.  The container's environment is the agent's alone: executions bring their own, so nothing of
    the caller's shows in the engine's records.
    """
    if spec.network not in ("none", "full"):
        raise InvalidRequest("network", f"'{spec.network}' is not one of none, full")
    labels: Mapping[str, str] = {
        **{f"{LABEL_CALLER}{name}": value for name, value in spec.labels.items()},
        LABEL_POOL: placement.pool_id,
        LABEL_KEY: str(key),
        LABEL_SPEC: spec_digest(spec),
        LABEL_TEMPLATE: spec.template,
        LABEL_BASE: base,
        LABEL_RUNTIME: placement.made_with,
        LABEL_DISK: placement.storage.value,
        LABEL_DISK_LIMIT: str(spec.limits.disk),
    }
    return {
        "Image": image,
        "Hostname": spec.hostname,
        "User": USER,
        "WorkingDir": "/",
        "Entrypoint": [AGENT, "--socket", SOCKET],
        "Cmd": [],
        "Env": [f"PATH={VM_PATH}"],
        "Tty": False,
        # A pipe: runtimes hand standard input to the VM's user, and else that would be a /dev/null, the VM's
        # own with crun, the host's with gVisor.
        "OpenStdin": True,
        "NetworkDisabled": False,
        "StopSignal": "SIGKILL",
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": labels,
        "HostConfig": _host_config(spec, placement, image_size),
    }


def _host_config(spec: MachineSpec, placement: Placement, image_size: int) -> JSONDict:
    limits = spec.limits
    config: JSONDict = {
        "Init": False,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "none"},
        # What holds the program in.
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "NetworkMode": "bridge" if spec.network == "full" else "none",
        "PublishAllPorts": False,
        "ReadonlyPaths": list(_READ_ONLY),
        # What it may use.
        "NanoCpus": round(limits.cpu * 1_000_000_000),
        "Memory": limits.memory * MB,
        "MemorySwap": limits.memory * MB,
        "PidsLimit": pids_limit(limits.processes, placement.isolation),
        "Ulimits": [
            {"Name": "nofile", "Soft": OPEN_FILES_SOFT, "Hard": OPEN_FILES_HARD},
            {"Name": "core", "Soft": CORE_BYTES, "Hard": CORE_BYTES},
        ],
        # What it needs: the agent, and a place for the agent's socket that a restart empties.
        "Mounts": [
            {
                "Type": "volume",
                "Source": placement.agent_volume,
                "Target": AGENT_DIR,
                "ReadOnly": True,
                "VolumeOptions": {"NoCopy": True},
            }
        ],
        **_tmpfs(limits, placement),
        "ReadonlyRootfs": placement.storage is Storage.MEMORY,
    }
    if placement.storage is not Storage.IMAGE:
        config["Ulimits"].append({"Name": "fsize", "Soft": limits.disk * MB, "Hard": limits.disk * MB})
    if placement.storage is Storage.QUOTA:
        config["StorageOpt"] = {"size": str(image_size + limits.disk * MB)}
    if placement.isolation == "container":
        # A guest kernel has its own.
        config["Sysctls"] = {"kernel.shmall": str(SHARED_MEMORY_MB * MB // _PAGE)}
        if not placement.podman:
            config["Mounts"].append(_terminals(placement.pool_id))
    if spec.network == "none":
        config["Dns"], config["DnsSearch"] = ["127.0.0.1"], ["."]  # the agent answers names
        config.setdefault("Sysctls", {})["net.ipv4.ip_unprivileged_port_start"] = "0"
    if placement.podman:
        # It would ask for a million by itself, which a host without CAP_SYS_RESOURCE refuses; this is as
        # many as it may have itself, for all VMs together.
        config["Ulimits"].append({"Name": "nproc", "Soft": 32768, "Hard": 32768})
    if placement.runtime is not None:
        config["Runtime"] = placement.runtime
    return config


def _tmpfs(limits: Limits, placement: Placement) -> JSONDict:
    """What is in memory, each bounded in bytes and, where the engine can say so, in files."""
    if placement.podman or placement.isolation != "container":  # they know no such option
        owner = "" if placement.podman else f",{_OWNER}"
        return {"ShmSize": SHARED_MEMORY_MB * MB, "Tmpfs": {SOCKET_DIR: f"{_SOCKET_TMPFS}{owner}"}}
    mounts = {
        SOCKET_DIR: f"{_SOCKET_TMPFS},{_SOCKET_FILES},{_OWNER}",
        "/dev/shm": f"rw,noexec,nosuid,nodev,{tmpfs_options(SHARED_MEMORY_MB, '1777')}",
    }
    if placement.storage is Storage.MEMORY:
        beside = limits.disk_in_memory // 4
        mounts[HOME] = f"rw,exec,nosuid,nodev,{tmpfs_options(limits.disk_in_memory - beside, '755')},{_OWNER}"
        mounts["/tmp"] = f"rw,exec,nosuid,nodev,{tmpfs_options(beside, '1777')}"
    return {"Tmpfs": mounts}


def _terminals(pool_id: str) -> JSONDict:
    """In the place of the runtime's own mount, which has no limit: terminals are one number for the host.

    The volume is the container's and goes with it; one that stays is found by the pool's label.
    """
    options = f"nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5,max={TERMINALS}"
    driver = {"Name": "local", "Options": {"type": "devpts", "device": "devpts", "o": options}}
    return {
        "Type": "volume",
        "Target": "/dev/pts",
        "VolumeOptions": {"NoCopy": True, "Labels": {LABEL_POOL: pool_id}, "DriverConfig": driver},
    }


def pids_limit(processes: int, isolation: str) -> int:
    """What the host's cgroup is told.

    A guest kernel's own threads count there too, several for each of its processes, and it dies when it is
    refused one: it gets enough of them, and the limit only keeps the host from harm.
    """
    return processes if isolation == "container" else 8 * processes + 1024


def isolation_of(runtime: str) -> str:
    """What kind of wall an OCI runtime builds, by its name."""
    if "runsc" in runtime or "gvisor" in runtime:
        return "gvisor"
    if "kata" in runtime:
        return "microvm"
    return "container"
