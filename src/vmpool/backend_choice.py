"""Which backend a state directory's VMs come from: decided once, remembered, shown with its reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from anyio import to_thread

from vmpool.backends.base import Backend
from vmpool.errors import BackendUnreachable, Conflict
from vmpool.pool.requests import chosen_isolation
from vmpool.pool.settings import PoolSettings
from vmpool.settings import Settings
from vmpool.store import Store
from vmpool.store.statedir import StateDirectory

BY_SETTING = "chosen by the settings"


@asynccontextmanager
async def open_backend(
    settings: Settings, directory: StateDirectory, store: Store
) -> AsyncIterator[tuple[Backend, str]]:
    """The backend of this directory, open until the block ends, and the reason why it is this one.

    A setting other than "auto" wins over what was decided before, unless VMs of another backend exist:
    then Conflict.  BackendUnreachable, with a remedy, where the host cannot.
    """
    async with AsyncExitStack() as stack:
        known = await to_thread.run_sync(lambda: directory.backend)
        if settings.backend != "auto":
            await _refuse_to_strand(store, settings.backend)
            reason = BY_SETTING
            backend = await _enter(stack, settings.backend, settings, directory)
        elif known is not None:
            name, reason = known
            backend = await _enter(stack, name, settings, directory)
        else:
            backend, reason = await _decide(stack, settings, directory)
        await _require_isolation(backend, settings.isolation)
        if known is None or known[0] != backend.name:
            await to_thread.run_sync(directory.decide_backend, backend.name, reason)
        yield backend, reason


def make(name: str, settings: Settings, directory: StateDirectory) -> Backend:
    """The backend of this name, not yet entered.  Only the chosen one's libraries are imported."""
    if name == "docker":
        from vmpool.backends.docker import DockerBackend

        return DockerBackend(
            directory.directory("docker"),
            pool_id=directory.pool_id,
            runtime=settings.docker.runtime,
            host=settings.docker.host,
            image_prefix=settings.docker.image_prefix,
            full_network=settings.network.full,
            disk_in_memory=settings.limits.disk_in_memory,
        )
    if name == "bubblewrap":
        from vmpool.backends.bubblewrap import BubblewrapBackend

        return BubblewrapBackend(
            directory.directory("bubblewrap"),
            pool_id=directory.pool_id,
            program=settings.bubblewrap.program,
            disk_in_memory=settings.limits.disk_in_memory,
        )
    from vmpool.backends.fake import FakeBackend

    return FakeBackend()


async def _decide(
    stack: AsyncExitStack, settings: Settings, directory: StateDirectory
) -> tuple[Backend, str]:
    """Docker where an engine answers and has our images, else bubblewrap; by isolation, where one is set."""
    if settings.isolation is not None:
        name = "bubblewrap" if settings.isolation == "namespaces" else "docker"
        return await _enter(stack, name, settings, directory), f"it has isolation '{settings.isolation}'"
    async with AsyncExitStack() as trial:
        try:
            docker = await _enter(trial, "docker", settings, directory)
            info = await docker.describe()
        except BackendUnreachable as error:
            why_not = f"no Docker engine can be used ({error.message})"
        else:
            if info.templates:
                stack.push_async_exit(trial.pop_all())
                images = ", ".join(info.templates)
                return docker, f"Docker Engine {info.version} answers and has images for {images}"
            why_not = (
                f"Docker Engine {info.version} answers but has none of vmpool's images (vm images build)"
            )
    return await _enter(stack, "bubblewrap", settings, directory), why_not


async def _require_isolation(backend: Backend, wanted: str | None) -> None:
    """A server whose setting names a wall that is not there does not start."""
    if wanted is None:
        return
    info = await backend.describe()
    chosen_isolation(wanted, info, PoolSettings())


async def _enter(stack: AsyncExitStack, name: str, settings: Settings, directory: StateDirectory) -> Backend:
    # Importing a backend's libraries and looking at the disk take a while.
    return await stack.enter_async_context(await to_thread.run_sync(make, name, settings, directory))


async def _refuse_to_strand(store: Store, wanted: str) -> None:
    """A server has one backend, and VMs keep theirs: the two must agree."""
    stranded = [vm for vm in await store.vms.live() if vm.backend != wanted]
    if stranded:
        there = stranded[0].backend
        raise Conflict(
            f"this state directory has {len(stranded)} VMs on the {there} backend; delete them first, "
            f"or start the server with backend {there}, or with another state directory"
        )
