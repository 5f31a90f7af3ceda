"""One build at work: its VM, its steps, what is kept after each, and the template at the end."""

from __future__ import annotations

import logging
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace

import anyio

from vmpool.backends.base import SupportsSnapshot
from vmpool.domain import VM, Execution, ExecutionRequest, Snapshot, VMState
from vmpool.domain.template import NewTemplate, Origin, Template
from vmpool.domain.template_build import Build, NewBuild, Step, digests
from vmpool.errors import (
    BuildFailed,
    IllegalTransition,
    SnapshotMismatch,
    SnapshotNotFound,
    VMPoolError,
)
from vmpool.pool.building.log import BuildLog
from vmpool.pool.context import Context, key_of
from vmpool.pool.executions import Executions
from vmpool.pool.files import Condition, Files, VMFiles
from vmpool.pool.lifecycle import Lifecycle
from vmpool.pool.requests import VMRequest
from vmpool.pool.snapshots import Snapshots
from vmpool.pool.streams import Streams
from vmpool.pool.templates import Base, Templates
from vmpool.pool.watch import Piece, Position

logger = logging.getLogger(__name__)

TAIL = 2000
"""Bytes of a failed step's output that its build tells."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a build works with."""

    context: Context
    lifecycle: Lifecycle
    snapshots: Snapshots
    templates: Templates
    executions: Executions
    streams: Streams
    files: Files


class Work:
    """`run` builds it.  request: the VM it is built in.  base: what it begins with.  log: what it writes."""

    def __init__(
        self, tools: Tools, build: Build, asked: NewBuild, request: VMRequest, base: Base, log: BuildLog
    ) -> None:
        self._tools = tools
        self._build = build
        self._asked = asked
        self._request = request
        self._base = base
        self._log = log
        self._chain = digests(base.begins, asked.steps)

    async def run(self) -> Template:
        """The template.  BuildFailed where a step failed; what making a VM and a template raise."""
        layers = self._tools.context.store.template_layers
        kept = None if self._asked.fresh else await layers.deepest(self._build.user_id, self._chain)
        if kept is None:
            return await self._from(0, self._base.snapshot)
        place, layer = kept
        try:
            snapshot = await self._tools.context.store.snapshots.at(layer.snapshot_id)
            await self._say(f"steps 1 to {place + 1} of {self._total}: as they were built before\n")
            await self._done(place + 1)
            return await self._from(place + 1, snapshot)
        except (SnapshotMismatch, SnapshotNotFound) as error:
            await self._say(f"what was built before cannot be used: {error}\n")
            gone = await layers.forget(self._build.user_id, self._chain)
            await self._tools.snapshots.release_all(gone)
            await self._done(0)
            return await self._from(0, self._base.snapshot)

    @property
    def _total(self) -> int:
        return len(self._asked.steps)

    async def _from(self, first: int, source: Snapshot | None) -> Template:
        """With the steps before `first` done and kept in `source`."""
        if first == self._total:
            assert source is not None
            return await self._publish(source)
        origin = Origin(self._base.template_id, self._base.template_name, build_id=self._build.id)
        vm = await self._tools.lifecycle.create(self._build.user_id, self._request, source, origin)
        try:
            kept = source
            for place in range(first, self._total):
                await self._step(vm, place)
                kept = await self._keep(vm, self._chain[place])
                await self._done(place + 1)
            assert kept is not None
            return await self._publish(kept)
        finally:
            await self._remove(vm)

    async def _remove(self, vm: VM) -> None:
        context = self._tools.context
        if context.closing:
            return  # the next server removes it
        with anyio.move_on_after(context.settings.cleanup_timeout, shield=True):
            try:
                await self._tools.lifecycle.delete(vm)
            except VMPoolError as error:
                logger.warning("the VM %s of build %s is not removed yet: %s", vm.id, self._build.id, error)
                context.suspect()

    # -- steps

    async def _step(self, vm: VM, place: int) -> None:
        step = self._asked.steps[place]
        await self._say(f"step {place + 1} of {self._total}: {step}\n")
        where = f"step {place + 1} of {self._total} ({step})"
        try:
            if step.files:
                await self._put(vm, step)
            else:
                await self._execute(vm, step)
        except BuildFailed as error:
            raise BuildFailed(f"{where} {error}") from error
        except VMPoolError as error:
            raise BuildFailed(f"{where} could not be done: {error}") from error

    async def _put(self, vm: VM, step: Step) -> None:
        files = VMFiles(self._tools.files, vm)

        async def content(data: bytes) -> AsyncIterator[bytes]:
            yield data

        for path, encoded in step.files.items():
            await files.put(
                path.encode(),
                content(b64decode(encoded)),
                offset=0,
                condition=Condition(),
                mode=0o755 if path in step.executable else None,
                parents=True,
                mtime_ns=None,
            )

    async def _execute(self, vm: VM, step: Step) -> None:
        settings = self._tools.context.settings
        asked = ExecutionRequest(
            command=step.run,
            packages=step.packages,
            manager=step.manager,
            env=step.env,
            cwd=step.cwd,
            timeout=settings.default_timeout if step.timeout is None else step.timeout,
        )
        begun = await self._tools.executions.start(vm, asked)
        tail = bytearray()
        ended: Execution = begun
        following = await self._tools.streams.follow(vm.user_id, vm.id, begun.id, Position())
        async with aclosing(following) as values:
            async for value in values:
                if isinstance(value, Piece):
                    await self._log.write(value.data)
                    tail += value.data
                    del tail[:-TAIL]
                else:
                    ended = value
        raise_unless_done(ended, bytes(tail))

    async def _keep(self, vm: VM, digest: str) -> Snapshot:
        """The VM's files as they are after a step, for this build and for others that begin as it does."""
        store, backend = self._tools.context.store, self._tools.snapshots.powers()
        async with self._tools.lifecycle.verb(vm) as vm:
            if vm.state is not VMState.RUNNING:
                raise IllegalTransition(vm.id, vm.state.value, "kept")
            snapshot = await store.snapshots.begin(vm)
            try:
                kept = await self._taken(backend, vm, snapshot)
                before = await store.template_layers.add(vm.user_id, digest, kept.id, kept.size)
            except BaseException:
                with anyio.move_on_after(self._tools.context.settings.cleanup_timeout, shield=True):
                    await self._tools.snapshots.give_up(await store.snapshots.at(snapshot.id))
                raise
        await self._tools.snapshots.release_all([] if before is None else [before])
        return kept

    async def _taken(self, backend: SupportsSnapshot, vm: VM, snapshot: Snapshot) -> Snapshot:
        stored = await backend.snapshot(key_of(vm), snapshot.reference)
        rows = self._tools.context.store.snapshots
        return await rows.keep(snapshot.id, base=stored.base, size=stored.size)

    # -- the end

    async def _publish(self, snapshot: Snapshot) -> Template:
        base = self._base
        new = NewTemplate(
            user_id=self._build.user_id,
            name=self._build.name,
            description=self._build.description,
            language=self._build.language or base.language,
            base=base.builtin,
            parent_id=base.template_id,
            parent=base.name,
            backend=snapshot.backend,
            disk=self._request.limits.disk,
            vm_id=snapshot.vm_id,
            build_id=self._build.id,
        )
        return await self._tools.templates.made(new, snapshot, replacing=self._asked.replace)

    async def _done(self, steps: int) -> None:
        await self._tools.context.store.template_builds.record(self._build.id, step=steps)

    async def _say(self, text: str) -> None:
        await self._log.write(text.encode())


def raise_unless_done(execution: Execution, tail: bytes) -> None:
    """BuildFailed unless a step's execution ended as it should.  tail: the end of its output.  Pure."""
    outcome = execution.outcome
    said = tail.decode("utf-8", "replace").strip()
    if outcome is None or execution.failure is not None:
        raise BuildFailed(f"was lost: {execution.failure}")
    if outcome.timed_out:
        how = f"took longer than {execution.timeout:g} seconds"
    elif outcome.oom_killed:
        how = "was out of memory"
    elif outcome.exit_code != 0:
        how = f"ended with exit code {outcome.exit_code}"
    else:
        return
    raise BuildFailed(f"{how}:\n{said}" if said else how)


def for_build(request: VMRequest, build_id: int, base: Base) -> VMRequest:
    """The VM a build is made in.  Pure."""
    limits = replace(request.limits, disk=max(request.limits.disk, base.disk))
    return replace(
        request,
        name=f"build-{build_id}",
        language=request.language or base.language,
        template=base.builtin,
        limits=limits,
        labels={"template": request.name},
    )
