"""The ways to run VMs here, each tried by making one and removing it."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from vmpool.backends.base import Backend, BackendInfo, MachineKey, MachineSpec
from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.host import REMEDIES, Grade
from vmpool.backends.docker import DockerBackend
from vmpool.backends.docker.engine import connected
from vmpool.backends.docker.errors import docker_errors
from vmpool.backends.docker.spec import isolation_of
from vmpool.doctor.report import LIMITS, Answer, Finding, Limit, Way, judged
from vmpool.domain import Limits
from vmpool.errors import VMPoolError
from vmpool.settings import Settings

PROBE = MachineKey(1)
SMALL = Limits(memory=128, disk=32)
PATIENCE = 90.0
"""Seconds one way may take to make a VM."""


async def look_at_bubblewrap(settings: Settings) -> tuple[Way, ...]:
    """Both grades."""
    return await _bubblewrap(settings, Grade.ROOT), await _bubblewrap(settings, Grade.USER)


async def _bubblewrap(settings: Settings, grade: Grade) -> Way:
    name = f"bubblewrap, {grade.value}"
    if grade is Grade.ROOT and os.geteuid() != 0:
        return Way(
            name,
            "namespaces",
            Answer.NO,
            "this user is not root",
            remedy="For hard limits on everything, run the server as root.",
        )
    async with _scratch(settings.state_dir) as directory:
        backend = BubblewrapBackend(
            directory, pool_id=_pool_id(), grade=grade, program=settings.bubblewrap.program
        )
        found = await _tried(name, "namespaces", backend, made=True)
    if found.answer is Answer.NO:
        return Way(name, found.isolation, found.answer, found.found.partition("\n")[0], remedy=REMEDIES)
    if grade is Grade.USER and os.geteuid() == 0:
        return Way(name, found.isolation, found.answer, f"{found.found}, tried as root", found.limits)
    return found


async def look_at_docker(settings: Settings) -> tuple[tuple[Finding, ...], tuple[Way, ...]]:
    """The engine, and each kind of wall its runtimes build."""
    try:
        with docker_errors("ask the engine what it is"):
            async with connected(settings.docker.host) as client:
                info = await client.system.info()
    except VMPoolError as error:
        nothing = Finding("Docker engine", Answer.NO, error.message.partition(";")[0], _ENGINE_REMEDY)
        return (nothing, _runsc(None), _kata(None)), ()
    runtimes = tuple(info.get("Runtimes") or ())
    own = settings.docker.runtime or str(info.get("DefaultRuntime") or "runc")
    chosen = {isolation_of(name): name for name in reversed(runtimes)} | {isolation_of(own): own}
    ways = [await _docker(settings, isolation, chosen[isolation]) for isolation in sorted(chosen)]
    return (engine(info), _runsc(runtimes), _kata(runtimes)), tuple(ways)


async def _docker(settings: Settings, isolation: str, runtime: str) -> Way:
    async with _scratch(settings.state_dir) as directory:
        backend = DockerBackend(
            directory,
            pool_id=_pool_id(),
            runtime=runtime,
            host=settings.docker.host,
            image_prefix=settings.docker.image_prefix,
        )
        return await _tried(f"docker, {runtime}", isolation, backend, made=False)


async def _tried(name: str, isolation: str, backend: Backend, *, made: bool) -> Way:
    """made: entering the backend makes a VM by itself."""
    try:
        async with backend:
            info = await backend.describe()
            if not made:
                if not info.templates:
                    return _way(name, info, Answer.UNKNOWN, "no image to try it with", _IMAGES_REMEDY)
                await _make_one(backend, info)
    except VMPoolError as error:
        return Way(name, isolation, Answer.NO, error.message)
    except TimeoutError:
        return Way(name, isolation, Answer.NO, f"no VM was there after {PATIENCE:g} s")
    return _way(name, info, Answer.YES, f"a VM was made ({info.name} {info.version})")


async def _make_one(backend: Backend, info: BackendInfo) -> None:
    template = "bash" if "bash" in info.templates else info.templates[0]
    try:
        with anyio.fail_after(PATIENCE):
            await backend.create(PROBE, MachineSpec("doctor", template, SMALL))
    finally:
        with anyio.move_on_after(PATIENCE, shield=True):
            await backend.destroy(PROBE)


def _way(name: str, info: BackendInfo, answer: Answer, found: str, remedy: str = "") -> Way:
    return Way(name, info.isolation, answer, found, limits_of(info), remedy)


def limits_of(info: BackendInfo) -> tuple[Limit, ...]:
    """Limit by limit, in the table's order."""
    return tuple(judged(limit, info.enforcement.get(limit, "nothing")) for limit in LIMITS)


def engine(info: Mapping[str, object]) -> Finding:
    """The engine with its storage: what a disk limit can stand on."""
    status = info.get("DriverStatus")
    pairs = dict(pair for pair in status if len(pair) == 2) if isinstance(status, list) else {}
    backing = pairs.get("Backing Filesystem", "an unknown file system")
    return Finding(
        "Docker engine",
        Answer.YES,
        f"{info.get('ServerVersion', '?')}, storage {info.get('Driver', '?')} on {backing}, "
        f"cgroup v{info.get('CgroupVersion') or 1}",
    )


def _runsc(runtimes: tuple[str, ...] | None) -> Finding:
    name, program = "gVisor (runsc)", shutil.which("runsc")
    if any(isolation_of(runtime) == "gvisor" for runtime in runtimes or ()):
        return Finding(name, Answer.YES, "registered with the engine")
    if program is None:
        return Finding(name, Answer.NO, "not installed; isolation 'gvisor' needs it", _RUNSC_REMEDY)
    return Finding(name, Answer.PARTLY, f"{program}, but no engine knows of it", _RUNSC_REMEDY)


def _kata(runtimes: tuple[str, ...] | None) -> Finding:
    name = "Kata Containers"
    if any(isolation_of(runtime) == "microvm" for runtime in runtimes or ()):
        return Finding(name, Answer.YES, "registered with the engine")
    return Finding(name, Answer.NO, "no engine has its runtime; isolation 'microvm' needs it")


@asynccontextmanager
async def _scratch(state_dir: Path) -> AsyncIterator[Path]:
    """A directory where the server's own would be: what a disk can do depends on the file system."""
    place = state_dir if os.access(state_dir, os.W_OK | os.X_OK) else None
    made = await to_thread.run_sync(lambda: tempfile.mkdtemp(prefix=".doctor-", dir=place))
    try:
        yield Path(made)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(lambda: shutil.rmtree(made, ignore_errors=True))


def _pool_id() -> str:
    return f"doctor-{secrets.token_hex(4)}"


_ENGINE_REMEDY = (
    "For the docker backend, start Docker Engine (systemctl start docker) and see that this user may open "
    "its socket (group docker), or set DOCKER_HOST."
)
_IMAGES_REMEDY = "Build the images of the docker backend: vm images build."
_RUNSC_REMEDY = (
    "For isolation 'gvisor', install runsc (Debian: apt-get install runsc) and name it in "
    '/etc/docker/daemon.json: {"runtimes": {"runsc": {"path": "/usr/bin/runsc", "runtimeArgs": '
    '["--platform=ptrace", "--network=none"]}}}.'
)
