"""The backends under test.  Adding one is adding a `Candidate`; the tests never ask for a name."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import anyio.to_thread

from tests.conformance.traces import left_behind
from vmpool.backends.base import Backend, MachineKey, MachineSpec, SupportsSnapshot
from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.host import Grade
from vmpool.backends.docker import DockerBackend
from vmpool.backends.fake import FakeBackend, FakeHost
from vmpool.errors import VMPoolError


class Power(StrEnum):
    """What a candidate can do beyond the interface; tests ask for these."""

    REAL_PROGRAMS = "real programs"  # a kernel runs what is inside
    HOST_KERNEL = "the host's kernel"  # limits are seen at once, thousands of processes are cheap
    ALL_LANGUAGES = "all languages"  # worth the time of compiling in every language
    ENGINE = "an engine that can be unreachable"
    SPARES = "machines made before anybody asks"


@dataclass(frozen=True, slots=True)
class World:
    """One state (a host, a state directory, a pool's label) over which backends are opened."""

    candidate: Candidate
    pool_id: str
    backend: Callable[[], Backend]
    unreachable: Callable[[], Backend] | None
    directory: Path | None = None

    def spec(self, **changes: object) -> MachineSpec:
        """A small machine of the template every candidate has."""
        return MachineSpec(**{"hostname": "box", "template": "python", **changes})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One backend in one shape.

    name: what `--require-backend` calls it.  probe: why it cannot be tested here, or None.
    """

    name: str
    powers: frozenset[Power]
    probe: Callable[[], str | None]
    world: Callable[[Candidate], AbstractAsyncContextManager[World]] = field(repr=False)

    @asynccontextmanager
    async def open_world(self) -> AsyncIterator[World]:
        """A fresh world, in the end emptied and searched for what was left."""
        async with self.world(self) as world:
            yield world
            with anyio.CancelScope(shield=True):
                async with world.backend() as backend:
                    await _empty(backend)
                    assert await backend.list() == []
            leftovers = await anyio.to_thread.run_sync(left_behind, world.pool_id, world.directory)
            assert leftovers == []


async def _empty(backend: Backend) -> None:
    for machine in await backend.list():
        await backend.destroy(machine.key)
    if isinstance(backend, SupportsSnapshot):
        for stored in await backend.list_snapshots():
            await backend.delete_snapshot(stored.reference)


def _pool_id() -> str:
    return f"conf{secrets.token_hex(4)}"


@asynccontextmanager
async def _fake_world(candidate: Candidate) -> AsyncIterator[World]:
    async with FakeHost() as host:
        down = FakeHost()
        down.engine_up = False
        yield World(candidate, _pool_id(), lambda: FakeBackend(host=host), lambda: FakeBackend(host=down))


def _bubblewrap_world(grade: Grade | None) -> Callable[[Candidate], AbstractAsyncContextManager[World]]:
    @asynccontextmanager
    async def world(candidate: Candidate) -> AsyncIterator[World]:
        pool_id = _pool_id()
        directory = Path(await anyio.to_thread.run_sync(_state_directory))

        def backend() -> Backend:
            return BubblewrapBackend(directory, pool_id=pool_id, grade=grade)

        try:
            yield World(candidate, pool_id, backend, None, directory)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(shutil.rmtree, directory)

    return world


def _state_directory() -> str:
    return tempfile.mkdtemp(prefix="vmpool-conformance-")


def _docker_world(runtime: str | None) -> Callable[[Candidate], AbstractAsyncContextManager[World]]:
    @asynccontextmanager
    async def world(candidate: Candidate) -> AsyncIterator[World]:
        pool_id = _pool_id()
        directory = Path(await anyio.to_thread.run_sync(_state_directory))
        try:
            yield World(
                candidate,
                pool_id,
                lambda: DockerBackend(directory, pool_id=pool_id, runtime=runtime),
                lambda: DockerBackend(directory, pool_id=pool_id, host=f"unix://{directory}/no-engine.sock"),
                directory,
            )
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(shutil.rmtree, directory)

    return world


def _opens(open_backend: Callable[[Path], Backend], template: str = "python") -> str | None:
    """Open and describe it; the reason why not."""

    async def attempt() -> str | None:
        async with AsyncExitStack() as stack:
            directory = Path(tempfile.mkdtemp(prefix="vmpool-probe-"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            backend = await stack.enter_async_context(open_backend(directory))
            info = await backend.describe()
            if template not in info.templates:
                return f"it has no template '{template}'"
        return None

    try:
        return anyio.run(attempt)
    except (VMPoolError, OSError) as error:
        return str(error)


def _probe_bubblewrap(grade: Grade | None) -> Callable[[], str | None]:
    def probe() -> str | None:
        if grade is not None and os.geteuid() != 0:
            return "an ordinary user has no other grade"
        return _opens(lambda directory: BubblewrapBackend(directory, pool_id="probe", grade=grade))

    return probe


def _probe_docker(runtime: str | None) -> Callable[[], str | None]:
    def probe() -> str | None:
        return _opens(lambda directory: DockerBackend(directory, pool_id="probe", runtime=runtime))

    return probe


SPARES = frozenset({Power.SPARES} if os.geteuid() == 0 else ())
"""Of a real machine: only root enters another's namespaces."""
REAL = frozenset({Power.REAL_PROGRAMS, Power.HOST_KERNEL})

CANDIDATES = (
    Candidate("fake", frozenset({Power.ENGINE, Power.SPARES}), lambda: None, _fake_world),
    Candidate(
        "bubblewrap", REAL | SPARES | {Power.ALL_LANGUAGES}, _probe_bubblewrap(None), _bubblewrap_world(None)
    ),
    Candidate("bubblewrap-user", REAL, _probe_bubblewrap(Grade.USER), _bubblewrap_world(Grade.USER)),
    Candidate(
        "docker",
        REAL | SPARES | {Power.ALL_LANGUAGES, Power.ENGINE},
        _probe_docker(None),
        _docker_world(None),
    ),
    Candidate(
        "docker-crun",
        REAL | SPARES | {Power.ENGINE},
        _probe_docker("crun"),
        _docker_world("crun"),
    ),
    Candidate(
        "docker-runsc",
        frozenset({Power.REAL_PROGRAMS, Power.ENGINE}),
        _probe_docker("runsc"),
        _docker_world("runsc"),
    ),
)

KEY = MachineKey(1)
