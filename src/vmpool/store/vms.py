"""VMs: inserted under admission, moved by guarded updates, kept after deletion."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict, Unpack

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError

from vmpool.domain import ARROWS, VM, Census, Limits, NetworkPolicy, NewVM, VMState
from vmpool.errors import IllegalTransition, NameTaken, VMNotFound
from vmpool.store.database import Database
from vmpool.store.ids import numeric
from vmpool.store.models import ContextRow, NetworkLogRow, SnapshotRow, UserRow, VirtualMachine, VMExecution
from vmpool.store.statement import Statement

ADMISSION_LOCK = 0x766D_7001
"""PostgreSQL's advisory lock around counting and inserting; SQLite has one writer anyway."""

_LIVE = VirtualMachine.status != literal_column(f"'{VMState.DELETED}'")
"""Not a bound value: a partial index serves only what is seen to imply its condition."""

_MEMORY = case(
    (VirtualMachine.wanted_memory_limit > VirtualMachine.memory_limit, VirtualMachine.wanted_memory_limit),
    else_=VirtualMachine.memory_limit,
)
"""MB a VM counts with: of two limits while one becomes the other, the larger."""
_DISK = case(
    (VirtualMachine.wanted_disk_limit > VirtualMachine.disk_limit, VirtualMachine.wanted_disk_limit),
    else_=VirtualMachine.disk_limit,
)

_SAME_NAME = frozenset(
    {
        "container_id",
        "generation",
        "isolation",
        "restored_from",
        "started_at",
        "stopped_at",
        "deleted_at",
        "last_used_at",
    }
)
"""Columns a transition may change that a VM has under the same name."""


class Facts(TypedDict, total=False):
    """What a transition may record beside the state; what is not named stays as it is.

    Times are set by themselves: `started_at` on reaching RUNNING (`stopped_at` is cleared), `stopped_at`
    on STOPPED, `deleted_at` on DELETED; `error` is cleared on leaving ERROR.  Naming one overrides that.
    """

    container_id: str | None
    generation: int
    isolation: str
    warnings: tuple[str, ...]
    error: str | None
    limits: Limits
    wanted: Limits | None
    network_policy: NetworkPolicy
    restored_from: int | None
    started_at: datetime | None
    stopped_at: datetime | None


class VMs:
    """The table `virtual_machines`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self._moves: dict[tuple[str, ...], Statement] = {}

    async def insert(self, new: NewVM, admit: Callable[[Census], None]) -> VM:
        """Count, ask `admit`, and insert as CREATING, all in one transaction that no other insert can split.

        admit: gets the census without the new VM and raises to refuse; what it raises passes through.
        NameTaken where the user has a VM of this name that is not deleted.
        """

        def work(connection: Connection) -> VM:
            if self._database.dialect == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({ADMISSION_LOCK})"))
            admit(_census(connection, new.user_id))
            try:
                row = connection.execute(
                    insert(VirtualMachine).values(_columns_of(new, self._clock())).returning(VirtualMachine)
                ).one()
            except IntegrityError as failure:
                if "name" in str(failure.orig):
                    raise NameTaken(new.name) from failure
                raise
            return _vm(row)

        return await self._database.write(work)

    async def census(self, user_id: int) -> Census:
        """What counts now, `of_user` being this user's."""
        return await self._database.read(lambda connection: _census(connection, user_id))

    async def get(self, user_id: int, reference: int | str) -> VM:
        """The user's VM by id or name; VMNotFound also for a foreign or deleted one."""
        number = numeric(reference)
        by = VirtualMachine.id == number if number is not None else VirtualMachine.name == reference
        return await self._one(reference, by, VirtualMachine.user_id == user_id, _LIVE)

    async def get_by_id(self, vm_id: int) -> VM:
        """Any user's VM, deleted ones too; VMNotFound where there never was one (or it is purged)."""
        return await self._one(vm_id, VirtualMachine.id == vm_id)

    async def live(self) -> list[VM]:
        """Every VM that is not DELETED, oldest first, for the reconciler."""
        statement = select(VirtualMachine).where(_LIVE).order_by(VirtualMachine.id)
        return await self._database.read(
            lambda connection: [_vm(row) for row in connection.execute(statement)]
        )

    async def transition(
        self,
        vm_id: int,
        sources: Collection[VMState],
        to: VMState,
        *,
        if_generation: int | None = None,
        **facts: Unpack[Facts],
    ) -> VM:
        """Move the VM to `to` if its state is one of `sources` (and has an arrow to `to`), in one update.

        if_generation: also only if the VM is of this generation.  Raises IllegalTransition with the real
        state where the guard does not hold, VMNotFound where there is no such VM.
        """
        legal = [state.value for state in sources if to in ARROWS[state]]
        values = {**_times(to, self._clock()), **_columns(facts), "status": to.value}
        return await self._guarded(vm_id, VirtualMachine.status.in_(legal), if_generation, values, to)

    async def move(self, vm: VM, to: VMState, **facts: Unpack[Facts]) -> VM:
        """As `transition` from the state and generation that `vm` has, at less cost.

        The end of this process does not undo it; a power failure that comes within moments does.  So it is
        for what is no worse then: no machine runs any more, and the reconciler finds them all stopped.
        """
        if to in ARROWS[vm.state]:
            values = {**_times(to, self._clock()), **_columns(facts), "status": to.value}
            guard = {"this": vm.id, "source": vm.state.value, "of": vm.generation}
            if await self._database.write_behind(self._moving(tuple(values)), {**values, **guard}):
                return _moved(vm, to, values)
        return await self.transition(vm.id, (vm.state,), to, if_generation=vm.generation, **facts)

    def _moving(self, names: tuple[str, ...]) -> Statement:
        """The statement that changes these columns, prepared once."""
        statement = self._moves.get(names)
        if statement is None:
            core = update(VirtualMachine).where(
                VirtualMachine.id == bindparam("this"),
                VirtualMachine.status == bindparam("source"),
                VirtualMachine.generation == bindparam("of"),
            )
            statement = self._moves[names] = Statement(
                core.values({name: bindparam(name) for name in names}), (*names, "this", "source", "of")
            )
            self._database.prepare(statement)
        return statement

    async def record(self, vm_id: int, *, if_generation: int | None = None, **facts: Unpack[Facts]) -> VM:
        """Record facts without a change of state; a DELETED VM takes no more facts (IllegalTransition)."""
        return await self._guarded(vm_id, _LIVE, if_generation, _columns(facts), None)

    async def intend(self, vm: VM, wanted: Limits, admit: Callable[[Census], None]) -> VM:
        """Announce that the VM is being given other limits.

        admit: gets the census, in which the VM counts with what it has, and raises to refuse; in one
        transaction that no insert can split.  IllegalTransition where the VM's state or generation is no more
        the same.
        """
        guard = and_(VirtualMachine.id == vm.id, VirtualMachine.status == vm.state.value)
        statement = (
            update(VirtualMachine)
            .where(guard, VirtualMachine.generation == vm.generation)
            .values(_columns({"wanted": wanted}))
            .returning(VirtualMachine)
        )

        def work(connection: Connection) -> VM:
            if self._database.dialect == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({ADMISSION_LOCK})"))
            admit(_census(connection, vm.user_id))
            row = connection.execute(statement).one_or_none()
            if row is None:
                raise IllegalTransition(vm.id, vm.state, "changed")
            return _vm(row)

        return await self._database.write(work)

    async def touch(self, vm_id: int, at: datetime | None = None) -> None:
        """The VM was used at `at` (default: now); never moves backwards, and is silent for an unknown VM."""
        when = at or self._clock()
        older = or_(VirtualMachine.last_used_at.is_(None), VirtualMachine.last_used_at < when)
        statement = update(VirtualMachine).where(VirtualMachine.id == vm_id, older).values(last_used_at=when)

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work)

    async def purge(self, deleted_before: datetime) -> int:
        """Remove rows of VMs deleted before then of which no history, snapshot or log is left; how many.

        Their contexts, dead all of them, go at once.
        """
        gone = (VirtualMachine.status == VMState.DELETED.value, VirtualMachine.deleted_at < deleted_before)
        contexts = delete(ContextRow).where(ContextRow.vm_id.in_(select(VirtualMachine.id).where(*gone)))
        statement = delete(VirtualMachine).where(
            *gone,
            ~exists().where(VMExecution.vm_id == VirtualMachine.id),
            ~exists().where(SnapshotRow.vm_id == VirtualMachine.id),
            ~exists().where(NetworkLogRow.vm_id == VirtualMachine.id),
        )

        def work(connection: Connection) -> int:
            connection.execute(contexts)
            return connection.execute(statement).rowcount

        return await self._database.write(work)

    async def list(
        self,
        user_id: int | None,
        *,
        limit: int | None = None,
        before_id: int | None = None,
        states: Collection[VMState] | None = None,
    ) -> list[VM]:
        """Newest first.  user_id: None means everybody's.  states: None means all but DELETED.

        before_id: only VMs older than this one, for paging.
        """
        statement = select(VirtualMachine).order_by(VirtualMachine.id.desc())
        if states is None:
            statement = statement.where(_LIVE)
        else:
            statement = statement.where(VirtualMachine.status.in_([state.value for state in states]))
        if user_id is not None:
            statement = statement.where(VirtualMachine.user_id == user_id)
        if before_id is not None:
            statement = statement.where(VirtualMachine.id < before_id)
        if limit is not None:
            statement = statement.limit(limit)
        return await self._database.read(
            lambda connection: [_vm(row) for row in connection.execute(statement)]
        )

    async def _one(self, reference: int | str, *where: ColumnElement[bool]) -> VM:
        statement = select(VirtualMachine).where(*where)

        def work(connection: Connection) -> VM:
            row = connection.execute(statement).one_or_none()
            if row is None:
                raise VMNotFound(reference)
            return _vm(row)

        return await self._database.read(work)

    async def _guarded(
        self,
        vm_id: int,
        guard: ColumnElement[bool],
        if_generation: int | None,
        values: Mapping[str, Any],
        to: VMState | None,
    ) -> VM:
        conditions = [VirtualMachine.id == vm_id, guard]
        if if_generation is not None:
            conditions.append(VirtualMachine.generation == if_generation)

        def work(connection: Connection) -> VM:
            changed = connection.execute(
                update(VirtualMachine).where(and_(*conditions)).values(values).returning(VirtualMachine)
            ).one_or_none()
            if changed is not None:
                return _vm(changed)
            found = connection.execute(
                select(VirtualMachine.status, VirtualMachine.generation).where(VirtualMachine.id == vm_id)
            ).one_or_none()
            if found is None:
                raise VMNotFound(vm_id)
            state = found.status
            if if_generation is not None and found.generation != if_generation:
                state = f"{state} in generation {found.generation}, not {if_generation}"
            raise IllegalTransition(vm_id, state, to.value if to else "changed")

        return await self._database.write(work)


def _census(connection: Connection, user_id: int) -> Census:
    own = func.count().filter(VirtualMachine.user_id == user_id)
    row = connection.execute(
        select(
            func.count(),
            own,
            func.coalesce(func.sum(_MEMORY), 0),
            func.coalesce(func.sum(VirtualMachine.cpu_limit), 0.0),
            func.coalesce(func.sum(_DISK), 0),
            select(UserRow.max_vms).where(UserRow.id == user_id).scalar_subquery(),
        ).where(_LIVE)
    ).one()
    return Census(
        vms=row[0],
        of_user=row[1],
        memory=int(row[2]),
        cpu=float(row[3]),
        disk=int(row[4]),
        quota=row[5],
    )


def _times(to: VMState, now: datetime) -> dict[str, Any]:
    """What reaching a state records by itself."""
    values: dict[str, Any] = {} if to is VMState.ERROR else {"error_reason": None}
    match to:
        case VMState.RUNNING:
            values |= {"started_at": now, "stopped_at": None, "last_used_at": now}
        case VMState.STOPPED:
            values["stopped_at"] = now
        case VMState.DELETED:
            values["deleted_at"] = now
        case _:
            pass
    return values


def _moved(vm: VM, to: VMState, values: Mapping[str, Any]) -> VM:
    """The VM with the columns changed."""
    changes = {name: value for name, value in values.items() if name in _SAME_NAME}
    if "error_reason" in values:
        changes["error"] = values["error_reason"]
    if "warnings" in values:
        changes["warnings"] = tuple(values["warnings"])
    if "cpu_limit" in values:
        changes["limits"] = Limits(
            cpu=values["cpu_limit"],
            memory=values["memory_limit"],
            disk=values["disk_limit"],
            processes=values["process_limit"],
        )
    return replace(vm, state=to, **changes)


def _columns(facts: Facts) -> dict[str, Any]:
    """Facts by the names of their columns."""
    values: dict[str, Any] = dict(facts)
    if "error" in values:
        values["error_reason"] = values.pop("error")
    if "warnings" in values:
        values["warnings"] = list(values["warnings"])
    if "network_policy" in facts:
        values["network_policy"] = facts["network_policy"].as_dict()
    if "limits" in facts:
        values.pop("limits")
        values |= _limit_columns(facts["limits"])
    if "wanted" in facts:
        wanted = values.pop("wanted")
        columns = _limit_columns(wanted or Limits())
        values |= {f"wanted_{name}": value if wanted else None for name, value in columns.items()}
    return values


def _limit_columns(limits: Limits) -> dict[str, Any]:
    return {
        "cpu_limit": limits.cpu,
        "memory_limit": limits.memory,
        "disk_limit": limits.disk,
        "process_limit": limits.processes,
    }


def _columns_of(new: NewVM, now: datetime) -> dict[str, Any]:
    return {
        **_limit_columns(new.limits),
        "user_id": new.user_id,
        "name": new.name,
        "status": VMState.CREATING.value,
        "language": new.language,
        "template": new.template,
        "backend": new.backend,
        "isolation": new.isolation,
        "generation": 1,
        "network": new.network,
        "network_policy": new.network_policy.as_dict(),
        "network_bytes": 0,
        "ttl": new.ttl,
        "idle_timeout": new.idle_timeout,
        "idle_pause": new.idle_pause,
        "env": dict(new.env),
        "labels": dict(new.labels),
        "forked_from": new.forked_from,
        "template_id": new.template_id,
        "made_from": new.made_from,
        "build_id": new.build_id,
        "restored_from": new.restored_from,
        "warnings": [],
        "created_at": now,
        "last_used_at": now,
    }


def _vm(row: Row[VirtualMachine]) -> VM:
    return VM(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        state=VMState(row.status),
        language=row.language,
        template=row.template,
        limits=Limits(
            cpu=float(row.cpu_limit),
            memory=row.memory_limit,
            disk=row.disk_limit,
            processes=row.process_limit,
        ),
        backend=row.backend,
        isolation=row.isolation,
        created_at=row.created_at,
        generation=row.generation,
        container_id=row.container_id,
        network=row.network,
        ttl=row.ttl,
        idle_timeout=row.idle_timeout,
        idle_pause=row.idle_pause,
        env=row.env,
        labels=row.labels,
        warnings=tuple(row.warnings),
        error=row.error_reason,
        started_at=row.started_at,
        stopped_at=row.stopped_at,
        deleted_at=row.deleted_at,
        last_used_at=row.last_used_at,
        restored_from=row.restored_from,
        forked_from=row.forked_from,
        template_id=row.template_id,
        made_from=row.made_from,
        build_id=row.build_id,
        network_policy=NetworkPolicy.from_dict(row.network_policy),
        network_bytes=row.network_bytes,
        wanted=_wanted(row),
    )


def _wanted(row: Row[VirtualMachine]) -> Limits | None:
    if row.wanted_cpu_limit is None:
        return None
    return Limits(
        cpu=float(row.wanted_cpu_limit),
        memory=row.wanted_memory_limit,
        disk=row.wanted_disk_limit,
        processes=row.wanted_process_limit,
    )
