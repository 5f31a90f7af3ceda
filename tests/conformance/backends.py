"""The backends the conformance suite runs on.  A new backend is one entry here."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vmpool.backends.base import Backend
from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.host import Grade


@dataclass(frozen=True)
class Candidate:
    """name: what `--require-backend` calls it; several candidates may share one.  grade: tells them apart.

    make: a backend, not entered, on a directory of its own and under a pool's name; called twice with the
    same arguments it stands for two servers one after another.
    """

    name: str
    grade: str
    make: Callable[[Path, str], Backend]


def _bubblewrap(grade: Grade) -> Candidate:
    return Candidate(
        "bubblewrap",
        grade.value,
        lambda directory, pool_id: BubblewrapBackend(directory, pool_id=pool_id, grade=grade),
    )


BUBBLEWRAP = tuple(_bubblewrap(grade) for grade in (list(Grade) if os.geteuid() == 0 else [Grade.USER]))
"""An ordinary user has the user grade only; root is asked for both."""
