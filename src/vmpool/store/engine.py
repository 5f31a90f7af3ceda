"""Opening a database by its URL: drivers, pragmas, migrations, then the repositories over it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread
from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from vmpool.errors import InvalidRequest
from vmpool.store.audit import Audit
from vmpool.store.contexts import Contexts
from vmpool.store.database import Committed, Database, database_errors
from vmpool.store.events import Events
from vmpool.store.executions import Executions
from vmpool.store.idempotency import Idempotency
from vmpool.store.keys import Keys
from vmpool.store.migrations import upgrade
from vmpool.store.network import NetworkLog
from vmpool.store.postgresql import PostgreSQL
from vmpool.store.secrets import Secrets
from vmpool.store.snapshots import Snapshots
from vmpool.store.sqlite import BUSY_MILLISECONDS, SQLite
from vmpool.store.template_builds import TemplateBuilds, TemplateLayers
from vmpool.store.templates import Templates
from vmpool.store.users import Users
from vmpool.store.vms import VMs
from vmpool.store.webhooks import Webhooks

DRIVERS = {"sqlite": "pysqlite", "postgresql": "asyncpg"}
Clock = Callable[[], datetime]

READERS = 4
JOURNAL_PAUSE = 0.02
"""Seconds between two tries to change a new file's journal."""
COMMAND_SECONDS = 30
"""How long one statement may take on PostgreSQL."""


def utcnow() -> datetime:
    """The time now as the database keeps it: naive, in UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


class Store:
    """The repositories of one open database; each method is one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.audit = Audit(database, clock)
        self.users = Users(database, clock)
        self.keys = Keys(database, clock)
        self.vms = VMs(database, clock)
        self.executions = Executions(database, clock)
        self.snapshots = Snapshots(database, clock)
        self.templates = Templates(database, clock)
        self.template_builds = TemplateBuilds(database, clock)
        self.template_layers = TemplateLayers(database, clock)
        self.events = Events(database)
        self.webhooks = Webhooks(database, clock)
        self.contexts = Contexts(database, clock)
        self.secrets = Secrets(database, clock)
        self.network = NetworkLog(database)
        self.idempotency = Idempotency(database, clock)


@asynccontextmanager
async def open_store(
    url: str, *, clock: Clock = utcnow, committed: Committed | None = None
) -> AsyncIterator[Store]:
    """Open the database at `url`, bring its tables up to date, and close it at the end.

    url: `sqlite:///path` or `postgresql://user@host/name`, as SQLAlchemy writes them; a driver
    named in it is replaced by ours.  clock: the time now as naive UTC.  committed: told of each commit how
    many seconds its writer waited and of which kind it was (`group`, `behind`).

    Raises InvalidRequest for a URL that cannot be served and StoreFailed where the database does not answer
    or is from a later version.
    """
    with database_errors():
        database = await anyio.to_thread.run_sync(_connect, _parsed(url))
    if committed is not None:
        database.committed = committed
    try:
        await database.write(upgrade)
        yield Store(database, clock)
    finally:
        await database.close()


def _parsed(url: str) -> URL:
    """The URL with its driver; the message never repeats the URL, which may hold a password."""
    try:
        parsed = make_url(url)
    except ArgumentError as failure:
        raise InvalidRequest("database_url", "is not a URL like sqlite:///path/to/file") from failure
    dialect = {"postgres": "postgresql"}.get(parsed.drivername, parsed.drivername).partition("+")[0]
    if dialect not in DRIVERS:
        raise InvalidRequest("database_url", f"'{parsed.drivername}' is neither sqlite nor postgresql")
    if dialect == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise InvalidRequest("database_url", "SQLite needs a file: sqlite:///path/to/file")
    return parsed.set(drivername=f"{dialect}+{DRIVERS[dialect]}")


def _connect(url: URL) -> Database:
    if url.get_backend_name() == "postgresql":
        return PostgreSQL(
            create_async_engine(
                url,
                pool_size=10,
                max_overflow=10,
                pool_pre_ping=True,
                connect_args={"command_timeout": COMMAND_SECONDS},
            )
        )
    assert url.database is not None
    path = Path(url.database)
    _make_private(path)
    writer = create_engine(url, pool_size=1, max_overflow=0)
    readers = create_engine(url, pool_size=READERS, max_overflow=0, isolation_level="AUTOCOMMIT")
    event.listen(writer, "connect", _pragmas("journal_mode = WAL", "synchronous = NORMAL"))
    event.listen(writer, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    event.listen(readers, "connect", _pragmas("query_only = ON"))
    return SQLite(path, writer, readers, READERS)


def _make_private(path: Path) -> None:
    """Create the file readable by its owner only: a history holds what people ran."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)


def _set(cursor: DBAPICursor, pragma: str) -> None:
    """Set it, waiting for others that open the same new file: changing the journal waits for nobody."""
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            cursor.execute(f"PRAGMA {pragma}")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(JOURNAL_PAUSE)


def _pragmas(*own: str) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    def on_connect(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # no transaction of the driver's own making: the "begin" event starts ours
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (f"busy_timeout = {BUSY_MILLISECONDS}", "foreign_keys = ON", *own):
            _set(cursor, pragma)
        cursor.close()

    return on_connect
