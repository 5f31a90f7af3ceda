"""Builds of templates: begun, followed, cancelled, and settled after a server that ended in one."""

from __future__ import annotations

import builtins
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from vmpool.domain import VM
from vmpool.domain.event import TEMPLATE_BUILDING, TEMPLATE_CANCELLED, TEMPLATE_FAILED
from vmpool.domain.template_build import Build, BuildState, NewBuild, check_steps
from vmpool.errors import AgentUnreachable, BuildEnded, VMPoolError
from vmpool.pool.building.log import BuildLog, read
from vmpool.pool.building.work import Tools, Work, for_build
from vmpool.pool.requests import VMRequest

logger = logging.getLogger(__name__)

KEEP = 50
"""Builds of one user that are kept once they have ended, with their logs."""


@dataclass(slots=True)
class _Active:
    """A build of this server."""

    user_id: int
    log: BuildLog
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)


class Builds:
    """The verbs on builds.  directory: where their logs are."""

    def __init__(self, tools: Tools, directory: Path) -> None:
        self._tools = tools
        self._context = tools.context
        self._rows = tools.context.store.template_builds
        self._directory = directory
        self._active: dict[int, _Active] = {}
        self._beginning = anyio.Lock()

    # -- verbs

    async def begin(self, asked: NewBuild, request: VMRequest) -> Build:
        """Begin to build.  request: the VM it is built in; its name is the template's.

        InvalidRequest for a name, a step or a limit that cannot be, TemplateNotFound for the one it is to
        begin with, Conflict for a name taken where nothing is to be replaced.
        """
        self._tools.snapshots.powers()
        check_steps(asked.steps)
        if self._context.closing:
            raise AgentUnreachable("the server is shutting down", dispatch="never_dispatched")
        base = await self._tools.templates.base(asked.user_id, asked.base)
        await self._tools.templates.check_new(asked.user_id, asked.name, asked.description, asked.replace)
        self._tools.lifecycle.check(asked.user_id, for_build(request, 0, base))
        async with self._beginning:
            build = await self._rows.begin(asked)
            active = self._active[build.id] = _Active(asked.user_id, BuildLog(self._path(build.id)))
        request = for_build(request, build.id, base)
        work = Work(self._tools, build, asked, request, base, active.log)
        self._context.journal.build(build, TEMPLATE_BUILDING)
        self._context.tasks.start_soon(self._carry, build, active, work)
        return build

    async def get(self, user_id: int, build_id: int) -> Build:
        """One of the user's; BuildNotFound."""
        return await self._rows.get(user_id, build_id)

    async def list(
        self, user_id: int, *, limit: int | None = None, before_id: int | None = None
    ) -> builtins.list[Build]:
        """The user's, newest first: those under way and the last that ended."""
        return await self._rows.list(user_id, limit=limit, before_id=before_id)

    async def cancel(self, user_id: int, build_id: int) -> Build:
        """End it; its VM goes.  BuildEnded where it has ended, or is of a server that has."""
        build = await self._rows.get(user_id, build_id)
        active = self._active.get(build_id)
        if build.state is not BuildState.BUILDING or active is None:
            raise BuildEnded(build_id, build.state.value)
        active.scope.cancel()
        with anyio.move_on_after(self._context.settings.cleanup_timeout):
            while not active.log.ended:
                await active.log.changed()
        return await self._rows.get(user_id, build_id)

    async def follow(
        self, user_id: int, build_id: int, at: int = 0
    ) -> AsyncGenerator[tuple[int, bytes] | Build, None]:
        """Pieces of its log from `at` on, each with its place, and at last the build that has ended."""
        build = await self._rows.get(user_id, build_id)
        return self._following(build, at)

    async def _following(self, build: Build, at: int) -> AsyncGenerator[tuple[int, bytes] | Build, None]:
        active = self._active.get(build.id)
        log = active.log if active is not None else await self._ended_log(build.id)
        async with aclosing(log.follow(at)) as pieces:
            async for piece in pieces:
                yield piece
        yield await self._rows.get(build.user_id, build.id)

    async def _ended_log(self, build_id: int) -> BuildLog:
        path = self._path(build_id)

        def size() -> int:
            return path.stat().st_size if path.exists() else 0

        log = BuildLog(path)
        log.size, log.ended = await anyio.to_thread.run_sync(size), True
        return log

    async def log(self, user_id: int, build_id: int, at: int) -> bytes:
        """The log so far, from a place on."""
        build = await self._rows.get(user_id, build_id)
        active = self._active.get(build.id)
        log = active.log if active is not None else await self._ended_log(build.id)
        return await read(self._path(build.id), at, max(0, log.size - at))

    def _path(self, build_id: int) -> Path:
        return self._directory / f"{build_id}.log"

    # -- at work

    async def _carry(self, build: Build, active: _Active, work: Work) -> None:
        """To its end; a server that ends meanwhile leaves it to the next one."""
        state, template_id = BuildState.CANCELLED, None
        failure: str | None = "it was cancelled"
        try:
            with active.scope:
                template_id = (await work.run()).id
                state, failure = BuildState.READY, None
        except VMPoolError as error:
            state, failure = BuildState.FAILED, error.message
        except Exception:  # a defect of ours must not end what others do
            logger.exception("build %s failed", build.id)
            state, failure = BuildState.FAILED, "the server made a mistake; its log says more"
        try:
            await active.log.write(f"{failure or 'the template is ready'}\n".encode())
            await self._ended(build, state, failure, template_id)
            gone = await self._context.store.template_layers.shorten(
                build.user_id, self._context.settings.templates.cache_bytes
            )
            await self._tools.snapshots.release_all(gone)
            await self._forget_old(build.user_id)
        except (VMPoolError, OSError) as error:
            logger.warning("how build %s ended is not recorded yet: %s", build.id, error)
            self._context.suspect()
        finally:
            del self._active[build.id]
            active.log.end()

    async def _ended(
        self, build: Build, state: BuildState, failure: str | None, template_id: int | None
    ) -> None:
        if template_id is None:
            ended = await self._rows.record(build.id, state=state, failure=failure)
        else:
            ended = await self._rows.record(build.id, state=state, failure=None, template_id=template_id)
        if state is BuildState.FAILED:
            self._context.journal.build(ended, TEMPLATE_FAILED)
        elif state is BuildState.CANCELLED:
            self._context.journal.build(ended, TEMPLATE_CANCELLED)

    async def _forget_old(self, user_id: int) -> None:
        old = [self._path(build_id) for build_id in await self._rows.forget_old(user_id, KEEP)]

        def remove() -> None:
            for path in old:
                path.unlink(missing_ok=True)

        await anyio.to_thread.run_sync(remove)

    # -- the reconciler's

    async def settle(self) -> None:
        """Builds of a server that ended have failed, and their VMs go; what fails is tried again."""
        async with self._beginning:
            left = [build for build in await self._rows.building() if build.id not in self._active]
        for build in left:
            made = await self._context.store.templates.of_build(build.id)
            if made is None:
                await self._ended(build, BuildState.FAILED, "the server ended while it was built", None)
            else:
                await self._ended(build, BuildState.READY, None, made.id)
        for vm in self._context.registry.all():
            if self._is_left(vm):
                try:
                    await self._tools.lifecycle.delete(vm)
                except VMPoolError as error:
                    logger.warning("VM %s of a build that has ended is not removed yet: %s", vm.id, error)

    def _is_left(self, vm: VM) -> bool:
        return (
            vm.build_id is not None
            and vm.build_id not in self._active
            and not self._context.locks.busy(vm.id)
        )
