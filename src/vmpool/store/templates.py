"""Templates of users: announced before their files are kept, ready after."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import (
    Connection,
    Executable,
    Row,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.exc import IntegrityError

from vmpool.domain.template import NewTemplate, Template, TemplateState
from vmpool.errors import Conflict, SnapshotNotFound, TemplateNotFound, TooManyTemplates
from vmpool.store.database import Database
from vmpool.store.ids import numeric
from vmpool.store.models import SnapshotRow, TemplateLayerRow, TemplateRow

_READY = TemplateRow.state == TemplateState.READY.value


class TemplateChanges(TypedDict, total=False):
    """What may change of a template; what is not named stays."""

    description: str
    shared: bool


class Templates:
    """The table `templates`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def begin(
        self, new: NewTemplate, snapshot_id: int, limit: int, *, replacing: bool = False
    ) -> Template:
        """Announce one as PENDING, and that its files are, or will be, in this snapshot.

        limit: templates a user may have.  replacing: the user's of this name is to make way.

        Conflict for a name that is taken, TooManyTemplates,
        SnapshotNotFound where the snapshot is gone.
        """

        def work(connection: Connection) -> Template:
            own = select(func.count()).where(TemplateRow.user_id == new.user_id)
            if replacing:
                own = own.where(TemplateRow.name != new.name)
            else:
                _check_name(connection, new.user_id, new.name)
            if connection.execute(own).scalar_one() >= limit:
                raise TooManyTemplates(limit)
            there = select(SnapshotRow.id).where(SnapshotRow.id == snapshot_id).with_for_update()
            if connection.execute(there).one_or_none() is None:
                raise SnapshotNotFound(snapshot_id)
            values = _columns_of(new, snapshot_id, self._clock())
            return _template(
                connection.execute(insert(TemplateRow).values(values).returning(TemplateRow)).one()
            )

        return await self._database.write(work)

    async def complete(
        self, template_id: int, size: int, bytes_limit: int, *, replacing: bool = False
    ) -> tuple[Template, Template | None]:
        """Its files are kept: READY; and the one it replaces, which is no more.  size: of them, in bytes.

        bytes_limit: of all a user's templates; TooManyTemplates past it.  replacing: as in `begin`; what was
        shared stays so.  Conflict where the name was taken meanwhile.
        """

        def work(connection: Connection) -> tuple[Template, Template | None]:
            pending = TemplateRow.id == template_id, TemplateRow.state == TemplateState.PENDING.value
            found = connection.execute(select(TemplateRow).where(*pending).with_for_update()).one_or_none()
            if found is None:
                raise TemplateNotFound(str(template_id))
            before = _replaced(connection, found.user_id, found.name) if replacing else None
            if _used(connection, found.user_id) + size > bytes_limit:
                raise TooManyTemplates(bytes_limit, "bytes")
            shared = before is not None and before.shared
            values = {"state": TemplateState.READY.value, "size": size, "shared": shared}
            change = update(TemplateRow).where(*pending).values(values)
            try:
                return _template(connection.execute(change.returning(TemplateRow)).one()), before
            except IntegrityError as failure:
                raise _taken(found.name) from failure

        return await self._database.write(work)

    async def get(self, user_id: int, reference: int | str) -> Template:
        """A READY template by id or name: the user's own, else one that is shared.

        TemplateNotFound also for one of somebody else that is not.
        """
        number = numeric(reference)
        statement = (
            select(TemplateRow)
            .where(
                TemplateRow.id == number if number is not None else TemplateRow.name == reference,
                or_(TemplateRow.user_id == user_id, TemplateRow.shared),
                _READY,
            )
            .order_by((TemplateRow.user_id == user_id).desc(), TemplateRow.id)
            .limit(1)
        )
        return await self._database.read(lambda connection: _one(connection, statement, reference))

    async def list(
        self, user_id: int, *, limit: int | None = None, before_id: int | None = None
    ) -> builtins.list[Template]:
        """The user's READY templates and those that are shared, newest first.

        before_id: only those older than this one.
        """
        statement = select(TemplateRow).where(or_(TemplateRow.user_id == user_id, TemplateRow.shared), _READY)
        if before_id is not None:
            statement = statement.where(TemplateRow.id < before_id)
        statement = statement.order_by(TemplateRow.id.desc()).limit(limit)
        return await self._database.read(lambda connection: _all(connection, statement))

    async def unsettled(self) -> builtins.list[Template]:
        """Those announced and not READY, oldest first, for the reconciler."""
        unsettled = TemplateRow.state != literal_column(f"'{TemplateState.READY}'")  # as the index has it
        statement = select(TemplateRow).where(unsettled).order_by(TemplateRow.id)
        return await self._database.read(lambda connection: _all(connection, statement))

    async def held(self) -> frozenset[int]:
        """The ids of all snapshots that templates, PENDING ones too, and layers of builds are in."""
        statement = union(select(TemplateRow.snapshot_id), select(TemplateLayerRow.snapshot_id))
        return await self._database.read(
            lambda connection: frozenset(connection.execute(statement).scalars())
        )

    async def holds(self, snapshot_id: int) -> bool:
        """Whether a template has, or is to have, its files in this snapshot, or it is kept for builds."""
        statement = select(
            or_(
                exists().where(TemplateRow.snapshot_id == snapshot_id),
                exists().where(TemplateLayerRow.snapshot_id == snapshot_id),
            )
        )
        return await self._database.read(lambda connection: bool(connection.execute(statement).scalar()))

    async def name_is_free(self, user_id: int, name: str) -> None:
        """Conflict where the user has a READY template of this name."""
        await self._database.read(lambda connection: _check_name(connection, user_id, name))

    async def of_build(self, build_id: int) -> Template | None:
        """The READY template that came of this build."""
        statement = select(TemplateRow).where(TemplateRow.build_id == build_id, _READY)

        def work(connection: Connection) -> Template | None:
            row = connection.execute(statement).one_or_none()
            return None if row is None else _template(row)

        return await self._database.read(work)

    async def change(self, user_id: int, template_id: int, **changes: Unpack[TemplateChanges]) -> Template:
        """The user's template with these changes; TemplateNotFound.  Conflict where it is to be shared and
        another of its name is."""
        statement = (
            update(TemplateRow)
            .where(TemplateRow.id == template_id, TemplateRow.user_id == user_id, _READY)
            .values(changes or {"id": TemplateRow.id})
            .returning(TemplateRow)
        )

        def work(connection: Connection) -> Template:
            try:
                return _one(connection, statement, template_id)
            except IntegrityError as failure:
                raise Conflict("another template of this name is shared; unshare that one first") from failure

        return await self._database.write(work)

    async def delete(self, template_id: int) -> None:
        """Remove the row; an absent one is a success."""
        statement = delete(TemplateRow).where(TemplateRow.id == template_id)

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work)


def _check_name(connection: Connection, user_id: int, name: str) -> None:
    taken = select(TemplateRow.id).where(TemplateRow.user_id == user_id, TemplateRow.name == name, _READY)
    if connection.execute(taken).one_or_none() is not None:
        raise _taken(name)


def _replaced(connection: Connection, user_id: int, name: str) -> Template | None:
    """The user's READY template of this name, removed."""
    same = delete(TemplateRow).where(TemplateRow.user_id == user_id, TemplateRow.name == name, _READY)
    row = connection.execute(same.returning(TemplateRow)).one_or_none()
    return None if row is None else _template(row)


def _taken(name: str) -> Conflict:
    return Conflict(f"you already have a template named '{name}'; delete that one first", name=name)


def _used(connection: Connection, user_id: int) -> int:
    """Bytes of the user's templates; files that two of them share count twice."""
    statement = select(func.coalesce(func.sum(TemplateRow.size), 0)).where(TemplateRow.user_id == user_id)
    return int(connection.execute(statement).scalar_one())


def _columns_of(new: NewTemplate, snapshot_id: int, now: datetime) -> dict[str, Any]:
    return {
        "user_id": new.user_id,
        "name": new.name,
        "state": TemplateState.PENDING.value,
        "description": new.description,
        "language": new.language,
        "base": new.base,
        "parent_id": new.parent_id,
        "parent": new.parent,
        "backend": new.backend,
        "disk": new.disk,
        "vm_id": new.vm_id,
        "build_id": new.build_id,
        "snapshot_id": snapshot_id,
        "size": 0,
        "shared": False,
        "created_at": now,
    }


def _one(connection: Connection, statement: Executable, reference: int | str) -> Template:
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise TemplateNotFound(str(reference))
    return _template(row)


def _all(connection: Connection, statement: Executable) -> builtins.list[Template]:
    return [_template(row) for row in connection.execute(statement)]


def _template(row: Row[Any]) -> Template:
    return Template(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        state=TemplateState(row.state),
        description=row.description,
        language=row.language,
        base=row.base,
        parent_id=row.parent_id,
        parent=row.parent,
        backend=row.backend,
        disk=row.disk,
        vm_id=row.vm_id,
        build_id=row.build_id,
        snapshot_id=row.snapshot_id,
        size=row.size,
        shared=row.shared,
        created_at=row.created_at,
    )
