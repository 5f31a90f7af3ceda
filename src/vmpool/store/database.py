"""Transactions: a unit of work is a plain function of a Connection, run whole or not at all.

Work once begun is carried through: it is shielded from cancellation, because a transaction torn off in the
middle leaves nobody knowing what holds.  It is short: the database's own time limits bound it.

How a unit is run stands once for each database: `vmpool.store.sqlite`, `vmpool.store.postgresql`.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from vmpool.errors import StoreFailed
from vmpool.store.statement import Statement

T = TypeVar("T")
Work = Callable[[Connection], T]
"""One unit of work.  On SQLite it may be rolled back and leave no trace; it must not keep the connection."""


Committed = Callable[[float, str], None]
"""Told of a commit: the seconds its writer waited, and its kind."""


def _untold(seconds: float, kind: str) -> None:
    """Nobody wants to know."""


class Database(abc.ABC):
    """Runs units of work against one database."""

    dialect: str
    committed: Committed = staticmethod(_untold)

    @abc.abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Run it; each of its statements sees one consistent state, and it must not write."""

    @abc.abstractmethod
    async def write(self, work: Work[T]) -> T:
        """Run it and commit; returns once the commit is on disk.  What it raises undoes it."""

    @abc.abstractmethod
    async def write_behind(self, statement: Statement, values: Mapping[str, Any], *, text: int = 0) -> int:
        """Run a statement that was prepared; returns once the end of this process cannot undo it any more.

        A power failure can for a moment longer.  For small rows about something that does not outlive the
        host's power itself, such as a program running in a VM.  Answers as `Statement.run`.

        text: characters of text in the row.  A long one is not to hold up the event loop.
        """

    def prepare(self, statement: Statement) -> None:  # noqa: B027 - most databases prepare by themselves
        """Get a statement ready for `write_behind`; once."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close every connection."""


@contextmanager
def database_errors() -> Iterator[None]:
    """The database's own failures as StoreFailed; what a unit of work raises itself passes."""
    try:
        yield
    except (SQLAlchemyError, OSError) as failure:
        raise store_failed(failure) from failure


def store_failed(failure: BaseException) -> StoreFailed:
    """A failure of the database as its callers are told."""
    origin = getattr(failure, "orig", None) or failure
    return StoreFailed(f"the database failed: {origin}")
