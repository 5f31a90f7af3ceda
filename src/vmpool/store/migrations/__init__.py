"""Bringing a database's tables up to date, in the server's own process."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from vmpool.errors import StoreFailed

MIGRATION_LOCK = 0x766D_7000
"""PostgreSQL's advisory lock around a migration; on SQLite BEGIN IMMEDIATE is the lock."""


def configuration(connection: Connection) -> Config:
    """Alembic's configuration over an open connection."""
    config = Config()
    # Alembic interpolates %: a path may hold one
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Run what is missing, all in the connection's transaction.

    Of several servers starting at once one does the work and the others find it done.  StoreFailed where
    the tables are of a later version of this program.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
    config = configuration(connection)
    if _revision(connection) == ScriptDirectory.from_config(config).get_current_head():
        return
    try:
        command.upgrade(config, "head")
    except CommandError as failure:
        raise StoreFailed(
            f"the database was made by a later version of vmpool ({failure}); upgrade vmpool"
        ) from failure


def _revision(connection: Connection) -> str | None:
    """The revision the tables are at, None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
