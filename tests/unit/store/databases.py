"""Where the store's tests get their databases: a file, or a database of a real PostgreSQL server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from vmpool.store.models import Base

SCRIPT = Path(__file__).parents[3] / "scripts" / "postgres"


@contextmanager
def postgres_server() -> Iterator[str]:
    """The URL of a server: the one VMPOOL_TEST_POSTGRES names, else a private one for the session.

    RuntimeError says why there is none.
    """
    given = os.environ.get("VMPOOL_TEST_POSTGRES")
    if given:
        yield given
        return
    started = subprocess.run([SCRIPT, "start"], capture_output=True, text=True, check=False)
    if started.returncode != 0:
        raise RuntimeError(started.stderr.strip() or "scripts/postgres start failed")
    said = dict(line.split("=", 1) for line in started.stdout.splitlines())
    try:
        yield said["VMPOOL_TEST_POSTGRES"]
    finally:
        subprocess.run([SCRIPT, "stop", said["VMPOOL_TEST_POSTGRES_DIR"]], check=True)


async def create_database(server: str) -> str:
    """A fresh, empty database; its URL."""
    name = f"test_{uuid4().hex}"
    await _on_server(server, f'CREATE DATABASE "{name}"')
    return make_url(server).set(database=name).render_as_string(hide_password=False)


async def drop_database(server: str, url: str) -> None:
    """Remove what `create_database` made."""
    await _on_server(server, f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')


async def empty_tables(url: str) -> None:
    """Remove every row, and begin ids anew."""
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    await _on_server(url, f"TRUNCATE {tables} RESTART IDENTITY CASCADE")


async def _on_server(server: str, statement: str) -> None:
    engine = create_async_engine(
        make_url(server).set(drivername="postgresql+asyncpg"), isolation_level="AUTOCOMMIT"
    )
    try:
        async with engine.connect() as connection:
            await connection.execute(text(statement))
    finally:
        await engine.dispose()
