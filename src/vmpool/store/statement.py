"""One INSERT or UPDATE whose text and conversions are worked out once.

SQLAlchemy keeps the text of a statement it has seen, but finds it again, and lays the values out, at each
call: several times as long as SQLite takes to run it.  What every execution runs is worth keeping whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Column, Connection, Dialect, Insert, Update

Convert = Callable[[Any], Any]


class Statement:
    """`core` with the values named in `names`; `key` is the column whose new value an INSERT answers."""

    def __init__(
        self, core: Insert | Update, names: tuple[str, ...], *, key: Column[int] | None = None
    ) -> None:
        self._core = core
        self._returning = None if key is None or not isinstance(core, Insert) else core.returning(key)
        self._names = names
        self._prepared: tuple[str, list[tuple[str, Convert | None]]] | None = None

    def run(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """On any database: the number of the row that was inserted, or how many were changed."""
        if self._returning is not None:
            return int(connection.execute(self._returning, dict(values)).scalar_one())
        return connection.execute(self._core, dict(values)).rowcount

    def prepare(self, dialect: Dialect) -> None:
        """Before `run_on_driver`: work out the text and how each value is bound (paramstyle `qmark`)."""
        compiled = self._core.compile(dialect=dialect, column_keys=list(self._names))
        binds: list[tuple[str, Convert | None]] = []
        for name in compiled.positiontup or ():
            kind = compiled.binds[name].type.dialect_impl(dialect)
            binds.append((name, kind.bind_processor(dialect)))
        self._prepared = str(compiled), binds

    def run_on_driver(self, driver: sqlite3.Connection, values: Mapping[str, Any]) -> int:
        """As `run`, in a transaction of its own; raises what the driver raises."""
        assert self._prepared is not None
        text, binds = self._prepared
        cursor = driver.execute(
            text, [values[name] if convert is None else convert(values[name]) for name, convert in binds]
        )
        return cursor.rowcount if self._returning is None else int(cursor.lastrowid or 0)
