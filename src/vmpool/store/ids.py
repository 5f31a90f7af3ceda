"""Which numbers can be the id of a row."""

from __future__ import annotations

LARGEST_ID = 2**31 - 1
"""PostgreSQL's Integer; SQLite would take more."""


def storable_id(reference: int | str) -> int | None:
    """The id meant by a number or a string of ASCII digits; None where no row can have it."""
    if isinstance(reference, str):
        if not (reference.isascii() and reference.isdecimal() and len(reference) <= 10):
            return None
        reference = int(reference)
    return reference if 0 < reference <= LARGEST_ID else None
