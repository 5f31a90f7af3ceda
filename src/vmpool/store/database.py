"""Transactions: a unit of work is a plain function of a Connection, run whole or not at all.

Work once begun is carried through: it is shielded from cancellation, because a transaction torn off in the
middle leaves nobody knowing what holds.  It is short: the database's own time limits bound it.

SQLite is a library, not a server: a transaction runs whole in a worker thread, one hop there and back.
(An asynchronous driver hops for every statement, cursor and fetch; that took longer than the work.)  It has
one writer at a time and pays a disk flush per commit.  So writers do not queue for the lock: the first to
come leads, and while its commit is on the way the others' work gathers and becomes the next transaction
(group commit).  Each has a savepoint of its own, so that one caller's refusal undoes only its part, and
every caller hears back only after the commit.  PostgreSQL does this by itself; there every unit gets its
own transaction.
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from vmpool.errors import StoreFailed

T = TypeVar("T")
Work = Callable[[Connection], T]
"""One unit of work.  On SQLite it may be rolled back and leave no trace; it must not keep the connection."""

BATCH = 64
"""The most units of work in one transaction: bounds how long the first of them waits."""


class Database(abc.ABC):
    """Runs units of work against one database."""

    dialect: str

    @abc.abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Run it; each of its statements sees one consistent state, and it must not write."""

    @abc.abstractmethod
    async def write(self, work: Work[T], *, linger: float = 0.0) -> T:
        """Run it and commit; returns once the commit is on disk.  What it raises undoes it.

        linger: seconds it may stand back for what others wait for; for work that nobody waits for.
        """

    @abc.abstractmethod
    async def close(self) -> None:
        """Close every connection."""


@contextmanager
def database_errors() -> Iterator[None]:
    """The database's own failures as StoreFailed; what a unit of work raises itself passes."""
    try:
        yield
    except (SQLAlchemyError, OSError) as failure:
        origin = getattr(failure, "orig", None) or failure
        raise StoreFailed(f"the database failed: {origin}") from failure


class PostgreSQL(Database):
    """Every unit of work has its own connection and transaction."""

    dialect = "postgresql"

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, work: Work[T]) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        with anyio.CancelScope(shield=True), database_errors():
            async with self._engine.connect() as connection:
                result = await connection.run_sync(work)
        return result

    async def write(self, work: Work[T], *, linger: float = 0.0) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        with anyio.CancelScope(shield=True), database_errors():
            async with self._engine.begin() as connection:
                result = await connection.run_sync(work)
        return result

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await self._engine.dispose()


class _Pending(Generic[T]):
    """A unit of work on its way, and what became of it."""

    __slots__ = ("called", "failure", "result", "settled", "turn", "work")

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.turn = anyio.Event()  # set when settled, or when it is this one's turn to lead
        self.called = anyio.Event()  # set when it need not stand back any longer
        self.settled = False
        self.result: T
        self.failure: Exception | None = None

    def attempt(self, connection: Connection) -> None:
        """Run the work inside a savepoint; its own failure stays its own."""
        try:
            with connection.begin_nested():
                self.result = self.work(connection)
        except OperationalError:
            raise  # disk full, input/output error: SQLite may have undone the whole transaction
        except Exception as failure:  # whatever else the work raises is for the one who asked for it
            self.failure = failure

    def settle(self, failure: Exception | None = None) -> None:
        if failure is not None:
            self.failure = failure
        self.settled = True
        self.turn.set()

    def answer(self) -> T:
        if self.failure is not None:
            raise self.failure
        return self.result


class SQLite(Database):
    """One writing connection shared by group commit, and readers that never wait for it."""

    dialect = "sqlite"

    def __init__(self, writer: Engine, readers: Engine, reader_count: int) -> None:
        self._writer = writer
        self._readers = readers
        self._writing = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(reader_count)
        self._queue: deque[_Pending[Any]] = deque()
        self._patient: deque[_Pending[Any]] = deque()
        self._led = False

    async def read(self, work: Work[T]) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        with anyio.CancelScope(shield=True), database_errors():
            result = await anyio.to_thread.run_sync(self._read, work, limiter=self._reading)
        return result

    async def write(self, work: Work[T], *, linger: float = 0.0) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        pending = _Pending(work)
        if linger:
            await self._stand_back(pending, linger)
        self._queue.append(pending)
        if self._led:
            await self._wait_for_turn(pending)
        if not pending.settled:
            self._led = True
            with anyio.CancelScope(shield=True):
                await self._lead()
        with database_errors():
            return pending.answer()

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._dispose, limiter=self._writing)

    async def _stand_back(self, pending: _Pending[Any], seconds: float) -> None:
        """Until the next commit of somebody else is over, or the time is up."""
        self._patient.append(pending)
        try:
            with anyio.move_on_after(seconds):
                await pending.called.wait()
        finally:
            if pending in self._patient:
                self._patient.remove(pending)

    async def _wait_for_turn(self, pending: _Pending[Any]) -> None:
        """Until it is settled or leads.  A cancelled caller's work is dropped if it has not begun."""
        try:
            await pending.turn.wait()
        except BaseException:
            if pending in self._queue:
                self._queue.remove(pending)
                if pending.turn.is_set():
                    self._pass_on()
            raise

    async def _lead(self) -> None:
        """Commit what has gathered, then hand over to the first of those who came meanwhile."""
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        try:
            await anyio.to_thread.run_sync(self._commit, batch, limiter=self._writing)
        except Exception as failure:  # nothing of the batch holds: each of its callers must hear so
            for pending in batch:
                pending.settle(failure)
        else:
            for pending in batch:
                pending.settle()
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        while self._patient:
            self._patient.popleft().called.set()
        if self._queue:
            self._queue[0].turn.set()
        else:
            self._led = False

    def _read(self, work: Work[T]) -> T:
        with self._readers.connect() as connection:
            return work(connection)

    def _commit(self, batch: list[_Pending[Any]]) -> None:
        with self._writer.begin() as connection:
            if len(batch) == 1:
                batch[0].result = batch[0].work(connection)
                return
            for pending in batch:
                pending.attempt(connection)

    def _dispose(self) -> None:
        self._writer.dispose()
        self._readers.dispose()
