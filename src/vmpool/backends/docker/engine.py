"""Finding an engine, connecting to it, and what it says of itself."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError
from anyio import to_thread

from vmpool.backends.docker.errors import REMEDY
from vmpool.backends.docker.spec import LABEL_RUNTIME, LABEL_TEMPLATE, isolation_of
from vmpool.backends.docker.storage import ENFORCEMENT, IN_MEMORY, PER_FILE, Storage, storage_of
from vmpool.errors import BackendFailed, BackendUnreachable, IsolationUnavailable

_PATIENCE = aiohttp.ClientTimeout(total=120, sock_connect=10)
"""Seconds for one request; what may take longer says so itself."""


def engine_host(environment: Mapping[str, str] = os.environ) -> str:
    """The engine's address: DOCKER_HOST, else the first socket that is there.

    Raises BackendUnreachable with a remedy where there is none.
    """
    if named := environment.get("DOCKER_HOST"):
        return named
    home, runtime = environment.get("HOME", "/"), environment.get("XDG_RUNTIME_DIR", "/run")
    candidates = (
        "/var/run/docker.sock",
        f"{home}/.docker/run/docker.sock",
        f"{runtime}/docker.sock",
        f"{runtime}/podman/podman.sock",
        "/run/podman/podman.sock",
    )
    for candidate in candidates:
        if Path(candidate).is_socket():
            return f"unix://{candidate}"
    raise BackendUnreachable(f"no Docker engine was found; {REMEDY}")


@asynccontextmanager
async def connected(host: str | None = None) -> AsyncIterator[Docker]:
    """A client of the engine at `host` ("unix://...", "tcp://...", "ssh://..."); closed on leaving."""
    address = host if host is not None else await to_thread.run_sync(engine_host)
    connector: aiohttp.BaseConnector | None = None
    # Every VM on a stub holds a connection for as long as it lives: no bound may be set on them.
    if address.startswith("unix://"):
        connector = aiohttp.UnixConnector(address.removeprefix("unix://"), limit=0)
        address = "unix://localhost"
    elif address.startswith(("tcp://", "http://", "https://")):
        context = await to_thread.run_sync(_tls_context)
        if context is not None:
            address = "https://" + address.partition("://")[2]
        connector = aiohttp.TCPConnector(limit=0, ssl=context if context is not None else True)
    try:
        async with _client(address, connector) as client:
            yield client
    finally:
        if connector is not None:
            await connector.close()


def _client(address: str, connector: aiohttp.BaseConnector | None) -> Docker:
    try:
        return Docker(url=address, connector=connector, timeout=_PATIENCE)
    except ValueError as error:
        raise BackendUnreachable(f"'{address}' is not an engine's address: {error}") from error


def _tls_context() -> ssl.SSLContext | None:
    """As the docker command does it: DOCKER_TLS_VERIFY and the three files in DOCKER_CERT_PATH."""
    if not os.environ.get("DOCKER_TLS_VERIFY"):
        return None
    directory = Path(os.environ.get("DOCKER_CERT_PATH", str(Path.home() / ".docker")))
    context = ssl.create_default_context(cafile=str(directory / "ca.pem"))
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine says of itself, as far as VMs are concerned.

    runtime: the one in use.  isolation: the wall it builds.  memory, swap, cpu, pids: whether the engine
    can limit them.  cgroup: "1" or "2".  podman: it is Podman in Docker's clothes.  driver: how it stores
    layers.  data_root: where, on its host.  storage: what holds the disk limit of a new container.
    bridge: VMs may be on its bridge.
    """

    version: str
    runtime: str
    runtimes: tuple[str, ...]
    cgroup: str
    memory: bool
    cpu: bool
    pids: bool
    podman: bool = False
    driver: str = ""
    data_root: str = ""
    storage: Storage = Storage.FILES
    swap: bool = True
    bridge: bool = False

    @property
    def isolation(self) -> str:
        return isolation_of(self.runtime)

    @property
    def isolations(self) -> tuple[str, ...]:
        """The walls its runtimes build, its own first."""
        return tuple(dict.fromkeys((self.isolation, *map(isolation_of, self.runtimes))))

    def offering(self, isolation: str) -> Engine:
        """The same engine with the runtime that builds this wall; "" is its own.  IsolationUnavailable."""
        if isolation in ("", self.isolation):
            return self
        for runtime in self.runtimes:
            if isolation_of(runtime) == isolation:
                return replace(self, runtime=runtime)
        raise IsolationUnavailable(isolation, "docker", self.isolations, "the engine has no runtime for it")

    def running(self, labels: Mapping[str, str] | None) -> Engine:
        """The same engine with the runtime and the storage a container was made with, by its labels."""
        runtime = (labels or {}).get(LABEL_RUNTIME) or self.runtime
        return replace(self, runtime=runtime, storage=storage_of(labels))

    def enforcement(self) -> dict[str, str]:
        """What holds each limit here."""
        cgroup = f"cgroup v{self.cgroup}"
        return {
            "cpu": f"{cgroup}, CFS quota" if self.cpu else "nothing",
            "memory": cgroup if self.memory else "nothing",
            "disk": ENFORCEMENT[self.storage],
            "processes": self._processes(cgroup),
            "network": "network namespace",
        }

    def _processes(self, cgroup: str) -> str:
        if not self.pids:
            return "nothing"
        return cgroup if self.isolation == "container" else f"{cgroup}, on the guest kernel's threads"

    def soft_limits(self) -> dict[str, str]:
        """The limits that are not hard here, each with a sentence that says so."""
        found = {}
        if self.storage is Storage.FILES:
            found["disk"] = PER_FILE
        if self.isolation != "container":
            found["processes"] = "processes: the limit holds for the guest kernel's threads, eight for each."
        if not self.swap:
            found["memory"] = (
                "memory: swap is not limited on the engine's host; a VM may use it beyond its memory."
            )
        for limit, held in (("cpu", self.cpu), ("memory", self.memory), ("processes", self.pids)):
            if not held:
                found[limit] = f"{limit}: the engine's host cannot limit it; nothing holds it."
        return found

    def warnings(self) -> tuple[str, ...]:
        """One sentence for each limit that is not hard here, and for what else is not as elsewhere."""
        others = [IN_MEMORY] if self.storage is Storage.MEMORY else []
        if self.isolation == "gvisor":
            others.append("network: a client that knows no proxy reaches the world by name, not by address.")
        return (*self.soft_limits().values(), *others)


def engine_facts(info: Mapping[str, Any], runtime: str | None) -> Engine:
    """Read the engine's answer to "info"; BackendFailed if it has no such runtime."""
    runtimes = tuple(sorted(info.get("Runtimes") or ()))
    chosen = runtime or str(info.get("DefaultRuntime") or "runc")
    if runtime is not None and runtimes and runtime not in runtimes:
        raise BackendFailed(
            f"the engine has no runtime '{runtime}' (it has {', '.join(runtimes)}); install it and name it "
            f'under "runtimes" in the engine\'s daemon.json'
        )
    return Engine(
        version=str(info.get("ServerVersion", "unknown")),
        runtime=chosen,
        runtimes=runtimes,
        cgroup=str(info.get("CgroupVersion") or "1"),
        memory=bool(info.get("MemoryLimit")),
        cpu=bool(info.get("CpuCfsQuota")),
        pids=bool(info.get("PidsLimit")),
        podman="BuildahVersion" in info,
        driver=str(info.get("Driver") or ""),
        data_root=str(info.get("DockerRootDir") or ""),
        swap=bool(info.get("SwapLimit", True)),
    )


def machine_of(info: Mapping[str, Any]) -> str:
    """The engine's processor in the words of `uname -m`."""
    architecture = str(info.get("Architecture") or "x86_64")
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(architecture, architecture)


def familiar(tag: str) -> str:
    """An image's name as we gave it: Podman puts a registry's name before it."""
    return tag.removeprefix("localhost/").removeprefix("docker.io/")


async def template_images(client: Docker, prefix: str) -> dict[str, str]:
    """The templates the engine has, by name, each with its image's id."""
    found: dict[str, str] = {}
    for image in await client.images.list(filters={"label": [LABEL_TEMPLATE]}):
        for tag in image.get("RepoTags") or ():
            name, _, version = familiar(tag).rpartition(":")
            if name.startswith(prefix) and version == "latest":
                found[name.removeprefix(prefix)] = image["Id"]
    return dict(sorted(found.items()))


async def has_bridge(client: Docker) -> bool:
    """Whether the engine has its default network: it may be switched off, and Podman's has another name."""
    try:
        await client.networks.get("bridge")
    except DockerError as error:
        if error.status == 404:
            return False
        raise
    return True


async def find_image(client: Docker, name: str) -> dict[str, Any] | None:
    """The image as the engine describes it, or None."""
    try:
        return await client.images.inspect(name)
    except DockerError as error:
        if error.status == 404:
            return None
        raise
