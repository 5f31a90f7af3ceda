"""Which numbers can be the id of a row."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Integer
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

LARGEST_ID = 2**31 - 1
"""PostgreSQL's Integer; SQLite would take more."""


class RowId(TypeDecorator[int]):
    """INTEGER that takes any Python integer: one no row can have meets none, instead of an error.

    It is bound as the nearest possible one, so that `id < ...` keeps its meaning too.
    """

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> Any:
        return None if value is None else max(0, min(value, LARGEST_ID))


def numeric(reference: int | str) -> int | None:
    """The id a reference means, None where it is a name: names are never all digits."""
    if isinstance(reference, int):
        return reference
    if reference.isascii() and reference.isdecimal():
        return int(reference[:12])  # longer ones are out of range anyway, and costly to convert
    return None
