"""Users' own templates: kept files that VMs start from.

A template's files are a snapshot's.  That one belongs to its VM as long as the VM's list has it, and to the
templates that name it after that (state KEPT): it is removed once neither has it.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Unpack

import anyio

from vmpool.domain import VM, Snapshot, SnapshotState, VMState
from vmpool.domain.event import TEMPLATE_CHANGED, TEMPLATE_DELETED
from vmpool.domain.template import (
    LONGEST_DESCRIPTION,
    NewTemplate,
    Origin,
    Template,
    check_template_name,
)
from vmpool.errors import (
    IllegalTransition,
    InvalidRequest,
    SnapshotMismatch,
    SnapshotNotFound,
    TemplateNotFound,
)
from vmpool.pool.context import Context, key_of
from vmpool.pool.lifecycle import Lifecycle
from vmpool.pool.requests import VMRequest
from vmpool.pool.snapshots import Snapshots
from vmpool.store.templates import TemplateChanges

KEEPABLE = (VMState.RUNNING, VMState.PAUSED, VMState.STOPPED)


@dataclass(frozen=True, slots=True)
class Base:
    """What a build begins with.

    builtin: the built-in template that it is or stands on.  begins: names its files.  disk: MB its VM has at
    least.  template_id, template_name, snapshot: of a user's.
    """

    name: str
    builtin: str
    language: str
    begins: str
    disk: int = 0
    template_id: int | None = None
    template_name: str | None = None
    snapshot: Snapshot | None = None


class Templates:
    """Publish, list, describe, change, delete; and what a VM made from one starts from."""

    def __init__(self, context: Context, lifecycle: Lifecycle, snapshots: Snapshots) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._snapshots = snapshots
        self._rows = context.store.templates
        self._proved: set[int] = set()

    # -- publishing

    async def publish(self, vm: VM, name: str, description: str) -> Template:
        """The VM's files as they are now, as a template of its owner's.

        Raises InvalidRequest for a name or description that cannot be, Conflict for a name taken,
        TooManyTemplates, and what taking a snapshot raises; then there is no template.
        """
        backend = self._snapshots.powers()
        self._check(name, description)
        async with self._lifecycle.verb(vm) as vm:
            if vm.state not in KEEPABLE:
                raise IllegalTransition(vm.id, vm.state.value, "the source of a template")
            snapshot = await self._context.store.snapshots.begin(vm)
            async with self._undoing(snapshot):
                template = await self._begin(vm, name, description, snapshot)
                stored = await backend.snapshot(key_of(vm), snapshot.reference)
                seal = await self._snapshots.seal(snapshot)
                await self._context.store.snapshots.keep(
                    snapshot.id, base=stored.base, size=stored.size, seal=seal
                )
                return await self._complete(template, stored.size)

    async def publish_snapshot(self, user_id: int, snapshot_id: int, name: str, description: str) -> Template:
        """The files of a snapshot of one of the user's VMs, shared with it and not copied.

        Raises as `publish` does, and SnapshotNotFound.
        """
        self._snapshots.powers()
        self._check(name, description)
        snapshot = await self._context.store.snapshots.at(snapshot_id)
        vm = self._context.registry.get(snapshot.vm_id)
        if vm is None or snapshot.user_id != user_id:
            raise SnapshotNotFound(snapshot_id)
        async with self._lifecycle.verb(vm) as vm:
            snapshot = await self._context.store.snapshots.get(user_id, vm.id, snapshot_id)
            async with self._undoing(snapshot):
                template = await self._begin(vm, name, description, snapshot)
                return await self._complete(template, snapshot.size)

    def _check(self, name: str, description: str) -> None:
        check_template_name(name, self._context.info.templates)
        check_description(description)

    async def _begin(self, vm: VM, name: str, description: str, snapshot: Snapshot) -> Template:
        new = NewTemplate(
            user_id=vm.user_id,
            name=name,
            description=description,
            language=vm.language,
            base=vm.template,
            parent_id=vm.template_id,
            parent=vm.made_from or vm.template,
            backend=vm.backend,
            disk=vm.limits.disk,
            vm_id=vm.id,
        )
        return await self._rows.begin(new, snapshot.id, self._context.settings.templates.most)

    async def _complete(self, template: Template, size: int) -> Template:
        most = self._context.settings.templates.most_bytes
        template, _ = await self._rows.complete(template.id, size, most)
        self._context.journal.template(template)
        return template

    @asynccontextmanager
    async def _undoing(self, snapshot: Snapshot) -> AsyncIterator[None]:
        """With the VM held: when the block fails, neither a template of it nor a snapshot for it is left."""
        try:
            yield
        except BaseException:
            with anyio.move_on_after(self._context.settings.cleanup_timeout, shield=True):
                for row in await self._rows.unsettled():
                    if row.snapshot_id == snapshot.id:
                        await self._rows.delete(row.id)
                if snapshot.state is SnapshotState.PENDING:
                    await self._snapshots.give_up(await self._context.store.snapshots.at(snapshot.id))
            raise

    async def check_new(self, user_id: int, name: str, description: str, replacing: bool) -> None:
        """InvalidRequest or Conflict for a template that could not be made."""
        self._check(name, description)
        if not replacing:
            await self._rows.name_is_free(user_id, name)

    async def made(self, new: NewTemplate, snapshot: Snapshot, *, replacing: bool) -> Template:
        """A template of what is kept already.  replacing: the user's of its name makes way.

        TooManyTemplates, Conflict, SnapshotNotFound; then the former one stays.
        """
        bounds = self._context.settings.templates
        async with self._context.locks.holding(snapshot.vm_id), self._undoing(snapshot):
            if snapshot.seal is None and (seal := await self._snapshots.seal(snapshot)) is not None:
                await self._context.store.snapshots.seal(snapshot.id, seal)
            template = await self._rows.begin(new, snapshot.id, bounds.most, replacing=replacing)
            template, before = await self._rows.complete(
                template.id, snapshot.size, bounds.most_bytes, replacing=replacing
            )
        if before is not None:
            self._context.journal.template(before, TEMPLATE_DELETED)
            await self._snapshots.release_all([before.snapshot_id])
        self._context.journal.template(template)
        return template

    async def base(self, user_id: int, reference: str) -> Base:
        """What a build begins with: a template the user may make VMs from; TemplateNotFound."""
        info = self._context.info
        if reference in info.templates:
            stands = info.bases.get(reference, "")
            return Base(reference, reference, reference, f"{info.name} {reference} {stands}")
        asked, snapshot, origin = await self.source(user_id, VMRequest("base", None, template=reference))
        assert asked.template is not None and asked.language is not None and origin.made_from is not None
        return Base(
            origin.made_from,
            asked.template,
            asked.language,
            f"snapshot {snapshot.id}",
            asked.limits.disk,
            origin.template_id,
            origin.made_from,
            snapshot,
        )

    # -- what there is

    async def get(self, user_id: int, reference: int | str) -> Template:
        """One of the user's, or one that is shared; TemplateNotFound."""
        return await self._rows.get(user_id, reference)

    async def list(
        self, user_id: int, *, limit: int | None = None, before_id: int | None = None
    ) -> builtins.list[Template]:
        """The user's and those that are shared, newest first."""
        return await self._rows.list(user_id, limit=limit, before_id=before_id)

    async def change(
        self, user_id: int, reference: int | str, **changes: Unpack[TemplateChanges]
    ) -> Template:
        """The user's template, changed.  TemplateNotFound; Conflict where another of its name is shared."""
        check_description(changes.get("description", ""))
        template = await self._own(user_id, reference)
        template = await self._rows.change(user_id, template.id, **changes)
        self._context.journal.template(template, TEMPLATE_CHANGED)
        return template

    async def delete(self, user_id: int, reference: int | str) -> None:
        """VMs made from it stay as they are; one that is being made from it is made."""
        template = await self._own(user_id, reference)
        snapshot = await self._context.store.snapshots.at(template.snapshot_id)
        async with self._context.locks.holding(snapshot.vm_id):
            with anyio.CancelScope(shield=True):
                await self._rows.delete(template.id)
                self._context.journal.template(template, TEMPLATE_DELETED)
            await self._snapshots.release(template.snapshot_id)

    async def _own(self, user_id: int, reference: int | str) -> Template:
        template = await self._rows.get(user_id, reference)
        if template.user_id != user_id:
            raise TemplateNotFound(str(reference))
        return template

    # -- VMs from it

    async def source(self, user_id: int, asked: VMRequest) -> tuple[VMRequest, Snapshot, Origin]:
        """The request as one for a VM of the built-in template it stands on, and the files it is to have.

        TemplateNotFound, SnapshotMismatch where it is another backend's, SnapshotDamaged.
        """
        context = self._context
        assert asked.template is not None
        try:
            template = await self._rows.get(user_id, asked.template)
        except TemplateNotFound as error:
            own = [one.name for one in await self._rows.list(user_id, limit=20)]
            raise TemplateNotFound(asked.template, (*context.info.templates, *own)) from error
        if template.backend != context.info.name:
            raise SnapshotMismatch(
                f"template '{template.name}' was made on {template.backend}, not on {context.info.name}"
            )
        snapshot = await self._whole(template.snapshot_id)
        limits = replace(asked.limits, disk=max(asked.limits.disk, template.disk))
        settled = replace(
            asked, template=template.base, language=asked.language or template.language, limits=limits
        )
        return settled, snapshot, Origin(template.id, template.name)

    async def _whole(self, snapshot_id: int) -> Snapshot:
        """The snapshot, compared with its seal once by each server: SnapshotDamaged."""
        snapshot = await self._context.store.snapshots.at(snapshot_id)
        if snapshot.id not in self._proved:
            await self._snapshots.verify(snapshot)
            self._proved.add(snapshot.id)
        return snapshot

    # -- the reconciler's

    async def settle(self) -> None:
        """Remove what was announced and is nobody's work any more; its files go with the snapshots."""
        context = self._context
        for seen in await self._rows.unsettled():
            if context.locks.busy(seen.vm_id):
                continue
            async with context.locks.holding(seen.vm_id):
                for row in await self._rows.unsettled():
                    if row.id == seen.id:
                        await self._rows.delete(row.id)


def check_description(text: str) -> None:
    """InvalidRequest unless it can be a template's description."""
    if len(text) > LONGEST_DESCRIPTION or not all(one.isprintable() or one == "\n" for one in text):
        raise InvalidRequest("description", f"must be at most {LONGEST_DESCRIPTION} printable characters")
