"""SQLite: a library, not a server.  One connection writes, in two ways, and readers never wait for it.

**Group commit** (`write`): a transaction runs whole in a worker thread, one hop there and back.  (An
asynchronous driver hops for every statement, cursor and fetch; that took longer than the work.)  A commit
costs a disk flush, so writers do not queue for the lock: the first to come leads, and while its commit is on
the way the others' work gathers and becomes the next transaction.  Each has a savepoint of its own, so that
one caller's refusal undoes only its part, and every caller hears back only after the flush.

**Write-behind** (`write_behind`): where nobody leads, a single statement runs at once where it is asked for:
the write-ahead log lies in the kernel's page cache, so it takes less time than waking a thread, and the end
of this process cannot undo it.  The flush that makes it survive a power failure follows within moments.

(Once after each checkpoint SQLite flushes the log's header first: that one write waits for the disk.)

The connection commits with `synchronous = NORMAL`, which writes the log and flushes it only before a
checkpoint; flushing it after a commit is done here.  https://www.sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Generic

import anyio
import anyio.lowlevel
import anyio.to_thread
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from vmpool.store.database import Database, T, Work, database_errors, store_failed
from vmpool.store.statement import Statement

logger = logging.getLogger(__name__)

BATCH = 64
"""The most units of work in one transaction: bounds how long the first of them waits."""
BUSY_MILLISECONDS = 10_000
"""How long a worker thread waits for another process that is writing; the event loop never waits for one."""
CHECKPOINT_PAGES = 1000
"""Pages in the write-ahead log from which on a commit in a worker thread copies them to the database."""
FLUSH_SECONDS = 0.05
"""How long after a write-behind its flush begins: a power failure can undo that much of the history."""
LONG_TEXT = 64 << 10
"""Characters of text in a row from which on it is written in a worker thread, not behind."""
BEHIND_IN_A_ROW = 1000
"""Write-behinds after which one goes through a worker thread, which keeps the log from growing for ever."""


class _Pending(Generic[T]):
    """A unit of work on its way, and what became of it."""

    __slots__ = ("failure", "result", "settled", "turn", "work")

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.turn = anyio.Event()  # set when settled, or when it is this one's turn to lead
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


class _Log:
    """The write-ahead log's file, which we flush: at once after a group commit, else soon, in a thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._dirty = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._flush_behind, name="database flush", daemon=True)

    def flush(self) -> None:
        """Put it on disk; OSError where that fails.  The file stays the same while a connection is open."""
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._thread.start()
        os.fdatasync(self._descriptor)

    def flush_soon(self) -> None:
        """Have it put on disk within FLUSH_SECONDS; never waits."""
        if not self._dirty.is_set():
            self._dirty.set()

    def close(self) -> None:
        if self._descriptor is not None:
            self._ended.set()
            self._dirty.set()
            self._thread.join()
            os.close(self._descriptor)
            self._descriptor = None

    def _flush_behind(self) -> None:
        while not self._ended.is_set():  # asked anew each time: what `close` said last may just be cleared
            self._dirty.wait()
            if self._ended.wait(FLUSH_SECONDS):
                return
            self._dirty.clear()
            try:
                self.flush()
            except OSError:
                logger.exception("the database's log could not be put on disk")


class SQLite(Database):
    """One database file.  `writer` gives the one writing connection, `readers` the others."""

    dialect = "sqlite"

    def __init__(self, path: Path, writer: Engine, readers: Engine, reader_count: int) -> None:
        self._writer = writer
        self._readers = readers
        self._log = _Log(path.with_name(path.name + "-wal"))
        self._connection: Connection | None = None
        self._driver: sqlite3.Connection | None = None
        self._behind = 0
        self._writing = anyio.CapacityLimiter(1)
        self._reading = anyio.CapacityLimiter(reader_count)
        self._queue: deque[_Pending[Any]] = deque()
        self._led = False

    async def read(self, work: Work[T]) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        with anyio.CancelScope(shield=True), database_errors():
            result = await anyio.to_thread.run_sync(self._read, work, limiter=self._reading)
        return result

    async def write(self, work: Work[T]) -> T:
        await anyio.lowlevel.checkpoint_if_cancelled()
        pending = _Pending(work)
        began = perf_counter()
        self._queue.append(pending)
        if self._led:
            await self._wait_for_turn(pending)
        if not pending.settled:
            self._led = True
            with anyio.CancelScope(shield=True):
                await self._lead()
        self.committed(perf_counter() - began, "group")
        with database_errors():
            return pending.answer()

    async def write_behind(self, statement: Statement, values: Mapping[str, Any], *, text: int = 0) -> int:
        at_once = self._behind < BEHIND_IN_A_ROW and text <= LONG_TEXT
        if self._driver is not None and not self._led and at_once:
            began = perf_counter()
            try:
                result = statement.run_on_driver(self._driver, values)
            except sqlite3.Error as failure:
                # The driver's own refusals, as of a closed connection, have no such name.
                if not getattr(failure, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                    raise store_failed(failure) from failure
                # another process writes: wait in a thread
            else:
                self._behind += 1
                self._log.flush_soon()
                self.committed(perf_counter() - began, "behind")
                return result
        return await self.write(lambda connection: statement.run(connection, values))

    def prepare(self, statement: Statement) -> None:
        statement.prepare(self._writer.dialect)

    async def close(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._dispose, limiter=self._writing)

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
            self._behind = 0
            self._pass_on()

    def _pass_on(self) -> None:
        if self._queue:
            self._queue[0].turn.set()
        else:
            self._led = False

    def _read(self, work: Work[T]) -> T:
        with self._readers.connect() as connection:
            return work(connection)

    def _commit(self, batch: list[_Pending[Any]]) -> None:
        if self._connection is None:
            self._connection = self._writer.connect()
            self._driver = self._connection.connection.driver_connection
        connection = self._connection
        with _patient(connection), connection.begin():
            if len(batch) == 1:
                batch[0].result = batch[0].work(connection)
            else:
                for pending in batch:
                    pending.attempt(connection)
        self._log.flush()

    def _dispose(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._log.close()
        self._writer.dispose()
        self._readers.dispose()


@contextmanager
def _patient(connection: Connection) -> Iterator[None]:
    """A worker thread may wait for other processes, and takes the log's pages over when they are many."""
    _pragmas(connection, BUSY_MILLISECONDS, CHECKPOINT_PAGES)
    try:
        yield
    finally:
        _pragmas(connection, 0, 0)


def _pragmas(connection: Connection, busy_milliseconds: int, checkpoint_pages: int) -> None:
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {busy_milliseconds}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
    cursor.close()
