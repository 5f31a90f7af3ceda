"""Executions: announced, then settled once; pruned by age, count and bytes."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    UpdateBase,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    literal_column,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningDelete

from vmpool.domain import Execution, ExecutionState, Outcome
from vmpool.errors import ExecutionNotFound
from vmpool.store.database import Database
from vmpool.store.models import Base, VirtualMachine, VMExecution
from vmpool.store.statement import Statement
from vmpool.store.text import storable, stored_size

_RUNNING = VMExecution.state == literal_column(f"'{ExecutionState.RUNNING}'")
"""Not a bound value: a partial index serves only what is seen to imply its condition."""
_IN_FILES = func.coalesce(VMExecution.output_file, 0) + func.coalesce(VMExecution.error_file, 0)
_HAS_FILE = or_(VMExecution.output_file > literal_column("0"), VMExecution.error_file > literal_column("0"))
"""As the partial index has it, for the same reason."""
_TABLE = Base.metadata.tables[VMExecution.__tablename__]
_ANNOUNCED = (
    "vm_id",
    "code",
    "language",
    "timeout",
    "executed_at",
    "state",
    "timed_out",
    "oom_killed",
    "truncated",
    "stored_bytes",
)
_OUTCOME = (
    "output",
    "error",
    "exit_code",
    "execution_time",
    "timed_out",
    "oom_killed",
    "truncated",
    "build_failed",
    "cpu_time",
    "max_memory",
    "output_bytes",
    "error_bytes",
    "output_file",
    "error_file",
    "stored_bytes",
)
_END = (
    update(_TABLE)
    .where(_TABLE.c.id == bindparam("this"), _TABLE.c.state == literal_column(f"'{ExecutionState.RUNNING}'"))
    .values(state=bindparam("state"), failure=bindparam("failure"))
)
_BEGIN = Statement(insert(_TABLE), _ANNOUNCED, key=_TABLE.c.id)
_BEGIN_SPECIAL = Statement(insert(_TABLE), (*_ANNOUNCED, "background", "terminal", "linger"), key=_TABLE.c.id)
_SETTLE = Statement(_END, ("this", "state", "failure"))
_SETTLE_WITH_OUTCOME = Statement(
    _END.values({name: bindparam(name) for name in _OUTCOME}), ("this", "state", "failure", *_OUTCOME)
)
PRUNE_CHUNK = 500
"""Rows removed in one transaction, so that pruning never makes an execution wait long."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much history is kept; None means without bound.

    age: how old an execution may become.  count: executions per VM.  size: bytes of all texts of all
    executions together.  Executions still running are never pruned.
    """

    age: timedelta | None = None
    count: int | None = None
    size: int | None = None


@dataclass(slots=True)
class Pruned:
    """What was removed.  files: executions among them that have files."""

    rows: int = 0
    files: list[WithFile] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class WithFile:
    """An execution whose output lies in files.  size: bytes of both streams' together."""

    id: int
    vm_id: int
    size: int


@dataclass(frozen=True, slots=True)
class Files:
    """Which files an execution may have: while it runs both, afterwards those that its row names."""

    id: int
    running: bool
    output: bool
    error: bool


class Executions:
    """The table `vm_executions`."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        for statement in (_BEGIN, _BEGIN_SPECIAL, _SETTLE, _SETTLE_WITH_OUTCOME):
            database.prepare(statement)

    async def begin(
        self,
        vm_id: int,
        code: str,
        language: str,
        timeout: float,
        at: datetime | None = None,
        *,
        background: bool = False,
        terminal: bool = False,
        linger: float | None = None,
    ) -> Execution:
        """Announce an execution that is about to be dispatched.  at: when (default: now), naive UTC.

        The end of this process does not undo it.
        """
        values: dict[str, Any] = {
            "vm_id": vm_id,
            "code": code,
            "language": language,
            "timeout": timeout,
            "executed_at": at or self._clock(),
            "state": ExecutionState.RUNNING.value,
            "timed_out": False,
            "oom_killed": False,
            "truncated": False,
            "stored_bytes": stored_size(code),
        }
        statement = _BEGIN
        if background or terminal:
            statement = _BEGIN_SPECIAL
            values |= {"background": background, "terminal": terminal, "linger": linger}
        execution_id = await self._database.write_behind(statement, values, text=len(code))
        return Execution(
            id=execution_id,
            vm_id=vm_id,
            code=storable(code),
            language=language,
            state=ExecutionState.RUNNING,
            executed_at=values["executed_at"],
            timeout=timeout,
            background=background,
            terminal=terminal,
            linger=linger,
        )

    async def finish(self, begun: Execution, outcome: Outcome, failure: str | None = None) -> Execution:
        """The program ended.  An execution settled before stays as it was and is answered as it is.

        failure: why, where somebody has ended it.
        """
        return await self._settle(begun, ExecutionState.FINISHED, outcome, failure)

    async def lose(self, begun: Execution, failure: str, outcome: Outcome | None = None) -> Execution:
        """The VM or the agent went away; outcome: what is known all the same.  Settled ones stay."""
        return await self._settle(begun, ExecutionState.LOST, outcome, failure)

    async def lose_running(self, vm_id: int, failure: str) -> int:
        """Every execution of this VM that still runs is lost; how many there were."""
        statement = (
            update(VMExecution)
            .where(VMExecution.vm_id == vm_id, _RUNNING)
            .values(state=ExecutionState.LOST.value, failure=failure)
        )
        return await self._database.write(_count_of(statement))

    async def get(self, vm_id: int, execution_id: int) -> Execution:
        """One execution of this VM; ExecutionNotFound also for one of another VM."""
        statement = select(VMExecution).where(VMExecution.id == execution_id, VMExecution.vm_id == vm_id)

        def work(connection: Connection) -> Execution:
            row = connection.execute(statement).one_or_none()
            if row is None:
                raise ExecutionNotFound(execution_id)
            return _execution(row)

        return await self._database.read(work)

    async def tail(self, vm_id: int, count: int) -> list[Execution]:
        """The VM's last `count` executions, oldest first."""
        newest_first = await self.list(vm_id, limit=count)
        return newest_first[::-1]

    async def running(self, vm_id: int | None = None) -> list[Execution]:
        """Executions not settled yet, oldest first.  vm_id: None means of every VM."""
        statement = select(VMExecution).where(_RUNNING).order_by(VMExecution.id)
        if vm_id is not None:
            statement = statement.where(VMExecution.vm_id == vm_id)
        return await self._database.read(
            lambda connection: [_execution(row) for row in connection.execute(statement)]
        )

    async def bytes_in_files(self) -> builtins.list[tuple[int, int, int]]:
        """VM, its user, and the bytes of its output that lie in files, as far as rows name them."""
        statement = (
            select(VMExecution.vm_id, VirtualMachine.user_id, func.sum(_IN_FILES))
            .join(VirtualMachine, VirtualMachine.id == VMExecution.vm_id)
            .where(_HAS_FILE)
            .group_by(VMExecution.vm_id, VirtualMachine.user_id)
        )
        return await self._database.read(
            lambda connection: [
                (vm_id, user_id, int(size)) for vm_id, user_id, size in connection.execute(statement)
            ]
        )

    async def oldest_with_file(self, vm_id: int, user_id: int | None = None) -> WithFile | None:
        """The VM's oldest execution that has a file.  user_id: else the oldest in all of this user's VMs."""
        statement = select(VMExecution.id, VMExecution.vm_id, _IN_FILES).where(_HAS_FILE)
        if user_id is None:
            statement = statement.where(VMExecution.vm_id == vm_id).order_by(VMExecution.id)
        else:
            theirs = select(VirtualMachine.id).where(VirtualMachine.user_id == user_id)
            own_first = case((VMExecution.vm_id == vm_id, 0), else_=1)
            statement = statement.where(VMExecution.vm_id.in_(theirs)).order_by(own_first, VMExecution.id)
        return await self._database.read(
            lambda connection: next((WithFile(*row) for row in connection.execute(statement.limit(1))), None)
        )

    async def forget_files(self, execution_id: int) -> None:
        """The files of an execution are about to be removed: its row names them no more."""
        columns = ("output_file", "error_file")
        none_left = {
            name: case((getattr(VMExecution, name).is_(None), null()), else_=literal(0)) for name in columns
        }
        statement = update(VMExecution).where(VMExecution.id == execution_id).values(none_left)
        await self._database.write(_count_of(statement))

    async def files_of(self, ids: Sequence[int]) -> list[Files]:
        """Which files these executions may have; those without a row are not among the answer."""
        columns = (VMExecution.id, _RUNNING, VMExecution.output_file > 0, VMExecution.error_file > 0)
        found: list[Files] = []
        for start in range(0, len(ids), PRUNE_CHUNK):
            statement = select(*columns).where(VMExecution.id.in_(ids[start : start + PRUNE_CHUNK]))
            found += await self._database.read(partial(_files, statement))
        return found

    async def prune(self, now: datetime, retention: Retention) -> Pruned:
        """Remove what is past the retention, oldest first.  now: naive UTC, for its ages."""
        removed = Pruned()
        if retention.age is not None:
            oldest = now - retention.age
            await self._remove(select(VMExecution.id).where(VMExecution.executed_at < oldest), removed)
        if retention.count is not None:
            rank = func.row_number().over(partition_by=VMExecution.vm_id, order_by=VMExecution.id.desc())
            ranked = select(VMExecution.id, rank.label("rank")).subquery()
            await self._remove(select(ranked.c.id).where(ranked.c.rank > retention.count), removed)
        if retention.size is not None:
            weight = func.sum(VMExecution.stored_bytes).over(order_by=VMExecution.id.desc())
            weighed = select(VMExecution.id, weight.label("weight")).subquery()
            await self._remove(select(weighed.c.id).where(weighed.c.weight > retention.size), removed)
        return removed

    async def list(
        self,
        vm_id: int,
        *,
        limit: int = 100,
        before_id: int | None = None,
        state: ExecutionState | None = None,
    ) -> list[Execution]:
        """The VM's history, newest first.

        before_id: only those older than this one, for paging.  state: only those in this one.
        """
        statement = select(VMExecution).where(VMExecution.vm_id == vm_id)
        if state is not None:
            running = state is ExecutionState.RUNNING
            statement = statement.where(_RUNNING if running else VMExecution.state == state.value)
        if before_id is not None:
            statement = statement.where(VMExecution.id < before_id)
        statement = statement.order_by(VMExecution.id.desc()).limit(limit)
        return await self._database.read(
            lambda connection: [_execution(row) for row in connection.execute(statement)]
        )

    async def _remove(self, doomed: Select[int], removed: Pruned) -> None:
        """Remove those of the selected that do not run, in transactions small enough to let others pass."""
        ids = await self._database.read(lambda connection: sorted(connection.scalars(doomed)))
        for start in range(0, len(ids), PRUNE_CHUNK):
            chunk = (
                delete(VMExecution)
                .where(VMExecution.id.in_(ids[start : start + PRUNE_CHUNK]), ~_RUNNING)
                .returning(VMExecution.id, VMExecution.vm_id, _IN_FILES)
            )
            gone = await self._database.write(_rows_of(chunk))
            removed.rows += len(gone)
            removed.files += [one for one in (WithFile(*row) for row in gone) if one.size]

    async def _settle(
        self, begun: Execution, state: ExecutionState, outcome: Outcome | None, failure: str | None
    ) -> Execution:
        values: dict[str, Any] = {"this": begun.id, "state": state.value, "failure": failure}
        texts = 0
        if outcome is not None:
            texts = stored_size(outcome.output) + stored_size(outcome.error)
            values |= {
                "output": outcome.output,
                "error": outcome.error,
                "exit_code": outcome.exit_code,
                "execution_time": outcome.execution_time,
                "timed_out": outcome.timed_out,
                "oom_killed": outcome.oom_killed,
                "build_failed": outcome.build_failed,
                "truncated": outcome.truncated,
                "cpu_time": outcome.cpu_time,
                "max_memory": outcome.max_memory,
                "output_bytes": outcome.output_bytes,
                "error_bytes": outcome.error_bytes,
                "output_file": outcome.output_file,
                "error_file": outcome.error_file,
                "stored_bytes": stored_size(begun.code) + texts,
            }

        statement = _SETTLE if outcome is None else _SETTLE_WITH_OUTCOME
        if await self._database.write_behind(statement, values, text=texts):
            return _settled(begun, state, outcome, failure)
        return await self.get(begun.vm_id, begun.id)


def _count_of(statement: UpdateBase) -> Callable[[Connection], int]:
    """Work that runs the statement and answers how many rows it met."""
    return lambda connection: connection.execute(statement).rowcount


def _files(statement: Select[int, bool, bool, bool], connection: Connection) -> list[Files]:
    return [
        Files(number, bool(runs), bool(output), bool(error))
        for number, runs, output, error in connection.execute(statement)
    ]


def _rows_of(
    statement: ReturningDelete[int, int, int],
) -> Callable[[Connection], list[tuple[int, int, int]]]:
    """Work that runs the statement and answers the rows it removed."""
    return lambda connection: [(row[0], row[1], row[2]) for row in connection.execute(statement)]


def _settled(
    begun: Execution, state: ExecutionState, outcome: Outcome | None, failure: str | None
) -> Execution:
    """As the row reads now."""
    if outcome is not None:
        output, error = storable(outcome.output), storable(outcome.error)
        if output is not outcome.output or error is not outcome.error:
            outcome = replace(outcome, output=output, error=error)
    return begun.settled(state, outcome, None if failure is None else storable(failure))


def _execution(row: Row[VMExecution]) -> Execution:
    outcome = None
    if row.exit_code is not None:
        outcome = Outcome(
            output=row.output,
            error=row.error,
            exit_code=row.exit_code,
            execution_time=float(row.execution_time),
            timed_out=row.timed_out,
            oom_killed=row.oom_killed,
            truncated=row.truncated,
            build_failed=row.build_failed,
            cpu_time=float(row.cpu_time),
            max_memory=row.max_memory,
            output_bytes=row.output_bytes,
            error_bytes=row.error_bytes,
            output_file=row.output_file,
            error_file=row.error_file,
        )
    return Execution(
        id=row.id,
        vm_id=row.vm_id,
        code=row.code,
        language=row.language,
        state=ExecutionState(row.state),
        executed_at=row.executed_at,
        timeout=float(row.timeout),
        outcome=outcome,
        failure=row.failure,
        background=row.background,
        terminal=row.terminal,
        linger=None if row.linger is None else float(row.linger),
    )
