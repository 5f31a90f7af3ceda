"""Snapshots: announced before the backend makes one, ready after, announced again before it goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Executable, Row, delete, exists, insert, literal_column, select, update
from sqlalchemy.exc import IntegrityError

from vmpool.domain import VM, Snapshot, SnapshotState
from vmpool.errors import Conflict, SnapshotNotFound
from vmpool.store.database import Database
from vmpool.store.ids import numeric
from vmpool.store.models import SnapshotRow


class Snapshots:
    """The table `snapshots`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, vm: VM, name: str | None = None, *, foreign: bool = False) -> Snapshot:
        """Announce a snapshot of this VM as PENDING; its `reference` is what the backend is to call it.

        name: unique among the VM's snapshots (Conflict); default `snapshot-<id>`.  foreign: it is not of the
        VM's own files, but comes as a file.
        """

        def work(connection: Connection) -> Snapshot:
            values = {
                "vm_id": vm.id,
                "user_id": vm.user_id,
                "name": uuid4().hex if name is None else name,  # a stand-in until the id is known
                "state": SnapshotState.PENDING.value,
                "size": 0,
                "backend": vm.backend,
                "reference": "",
                "base": "",
                "created_at": self._clock(),
                "parent_id": None if foreign else _parent(connection, vm),
                "generation": 0 if foreign else vm.generation,
            }
            try:
                number = connection.execute(
                    insert(SnapshotRow).returning(SnapshotRow.id), values
                ).scalar_one()
                reference = f"snapshot-{number}"
                row = connection.execute(
                    update(SnapshotRow)
                    .where(SnapshotRow.id == number)
                    .values(reference=reference, name=name or _free_name(connection, vm.id, reference))
                    .returning(SnapshotRow)
                ).one()
            except IntegrityError as failure:
                if "name" in str(failure.orig):
                    raise Conflict(
                        f"VM {vm.id} already has a snapshot named '{name}'", name=name
                    ) from failure
                raise
            return _snapshot(row)

        return await self._database.write(work)

    async def complete(self, snapshot_id: int, *, base: str, size: int, seal: str | None = None) -> Snapshot:
        """The backend has it: READY, with what it stands on, its size in bytes and its seal.

        SnapshotNotFound where it is no longer PENDING.
        """
        statement = (
            update(SnapshotRow)
            .where(SnapshotRow.id == snapshot_id, SnapshotRow.state == SnapshotState.PENDING.value)
            .values(state=SnapshotState.READY.value, base=base, size=size, seal=seal)
            .returning(SnapshotRow)
        )
        return await self._database.write(lambda connection: _one(connection, statement, snapshot_id))

    async def get(self, user_id: int, vm_id: int, reference: int | str) -> Snapshot:
        """A READY snapshot of this user's VM by id or name; SnapshotNotFound also for a foreign one."""
        number = numeric(reference)
        statement = select(SnapshotRow).where(
            SnapshotRow.id == number if number is not None else SnapshotRow.name == reference,
            SnapshotRow.vm_id == vm_id,
            SnapshotRow.user_id == user_id,
            SnapshotRow.state == SnapshotState.READY.value,
        )
        return await self._database.read(lambda connection: _one(connection, statement, reference))

    async def all(self) -> list[Snapshot]:
        """Every snapshot in every state, oldest first, for the reconciler."""
        statement = select(SnapshotRow).order_by(SnapshotRow.id)
        return await self._database.read(lambda connection: _all(connection, statement))

    async def pending(self) -> list[Snapshot]:
        """Those announced and not settled (PENDING, DELETING), oldest first, for the reconciler."""
        statement = select(SnapshotRow).where(
            # as the partial index has it
            SnapshotRow.state != literal_column(f"'{SnapshotState.READY}'"),
            SnapshotRow.state != SnapshotState.KEPT.value,
        )
        return await self._database.read(lambda connection: _all(connection, statement))

    async def keep(
        self, snapshot_id: int, *, base: str | None = None, size: int | None = None, seal: str | None = None
    ) -> Snapshot:
        """A template has its files there: KEPT, out of its VM's list, and its name free for another one.

        base, size, seal: as in `complete`, of one that was PENDING.  SnapshotNotFound if it is being removed.
        """
        values: dict[str, Any] = {"state": SnapshotState.KEPT.value, "name": f"kept-{uuid4().hex}"}
        values |= {} if base is None else {"base": base, "size": size, "seal": seal}
        statement = (
            update(SnapshotRow)
            .where(SnapshotRow.id == snapshot_id, SnapshotRow.state != SnapshotState.DELETING.value)
            .values(values)
            .returning(SnapshotRow)
        )
        return await self._database.write(lambda connection: _taken_out(connection, statement, snapshot_id))

    async def seal(self, snapshot_id: int, seal: str) -> Snapshot:
        """Record what it is to be compared with; SnapshotNotFound."""
        statement = (
            update(SnapshotRow).where(SnapshotRow.id == snapshot_id).values(seal=seal).returning(SnapshotRow)
        )
        return await self._database.write(lambda connection: _one(connection, statement, snapshot_id))

    async def at(self, snapshot_id: int) -> Snapshot:
        """One in whatever state; SnapshotNotFound."""
        statement = select(SnapshotRow).where(SnapshotRow.id == snapshot_id)
        return await self._database.read(lambda connection: _one(connection, statement, snapshot_id))

    async def begin_delete(self, snapshot_id: int) -> Snapshot:
        """Announce that the backend is about to be told to remove it; from now on `get` does not find it.

        What came after it comes after the one before it.
        """
        statement = (
            update(SnapshotRow)
            .where(SnapshotRow.id == snapshot_id)
            .values(state=SnapshotState.DELETING.value)
            .returning(SnapshotRow)
        )

        return await self._database.write(lambda connection: _taken_out(connection, statement, snapshot_id))

    async def delete(self, snapshot_id: int) -> None:
        """Remove the row, the backend having none (any more); an absent one is a success."""
        statement = delete(SnapshotRow).where(SnapshotRow.id == snapshot_id)

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work)

    async def list(
        self, vm_id: int, *, limit: int | None = None, before_id: int | None = None
    ) -> list[Snapshot]:
        """The VM's READY snapshots, newest first.  before_id: only those older than this one."""
        statement = select(SnapshotRow).where(
            SnapshotRow.vm_id == vm_id, SnapshotRow.state == SnapshotState.READY.value
        )
        if before_id is not None:
            statement = statement.where(SnapshotRow.id < before_id)
        statement = statement.order_by(SnapshotRow.id.desc()).limit(limit)
        return await self._database.read(lambda connection: _all(connection, statement))


def _taken_out(connection: Connection, statement: Executable, snapshot_id: int) -> Snapshot:
    """The snapshot that goes from its VM's list; what came after it comes after the one before it."""
    gone = _one(connection, statement, snapshot_id)
    connection.execute(
        update(SnapshotRow)
        .where(SnapshotRow.vm_id == gone.vm_id, SnapshotRow.parent_id == snapshot_id)
        .values(parent_id=gone.parent_id)
    )
    return gone


def _parent(connection: Connection, vm: VM) -> int | None:
    """The VM's last snapshot since its files were made, or the one they were made from."""
    ready = select(SnapshotRow.id).where(
        SnapshotRow.vm_id == vm.id, SnapshotRow.state == SnapshotState.READY.value
    )
    latest = ready.where(SnapshotRow.generation == vm.generation).order_by(SnapshotRow.id.desc()).limit(1)
    source = ready.where(SnapshotRow.id == vm.restored_from)
    return connection.scalar(latest) or connection.scalar(source)


def _free_name(connection: Connection, vm_id: int, reference: str) -> str:
    """The default name; with a tail where a caller has given it to another snapshot."""
    taken = exists().where(SnapshotRow.vm_id == vm_id, SnapshotRow.name == reference)
    return f"{reference}-{uuid4().hex[:8]}" if connection.scalar(select(taken)) else reference


def _one(connection: Connection, statement: Executable, reference: int | str) -> Snapshot:
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise SnapshotNotFound(reference)
    return _snapshot(row)


def _all(connection: Connection, statement: Executable) -> list[Snapshot]:
    return [_snapshot(row) for row in connection.execute(statement)]


def _snapshot(row: Row[Any]) -> Snapshot:
    return Snapshot(
        id=row.id,
        vm_id=row.vm_id,
        user_id=row.user_id,
        name=row.name,
        size=row.size,
        backend=row.backend,
        reference=row.reference,
        base=row.base,
        created_at=row.created_at,
        state=SnapshotState(row.state),
        seal=row.seal,
        parent_id=row.parent_id,
    )
