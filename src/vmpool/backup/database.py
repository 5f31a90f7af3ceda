"""The SQLite file of a state directory, copied while a server writes to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vmpool.backends.base import MachineKey
from vmpool.errors import InvalidRequest

NAME = "vmpool.db"


@dataclass(frozen=True, slots=True)
class KnownVM:
    """A row of a VM that is not deleted."""

    key: MachineKey
    name: str
    backend: str


@dataclass(frozen=True, slots=True)
class Known:
    """What the rows say there is.  snapshots: references of those that are there, with their backend."""

    vms: tuple[KnownVM, ...]
    snapshots: tuple[tuple[str, str], ...]


def copy(source: Path, target: Path) -> None:
    """One consistent state, whatever is written meanwhile (SQLite's own backup); checked."""
    with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as live:
        with closing(sqlite3.connect(target)) as copied:
            live.backup(copied)
            copied.execute("PRAGMA journal_mode = DELETE")
    target.chmod(0o600)
    check(target)


def check(path: Path) -> None:
    """InvalidRequest unless SQLite finds the file whole."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as found:
            said = found.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        raise InvalidRequest("backup", f"the database is damaged: {said}")


def known(path: Path) -> Known:
    """What the rows of a copy say there is."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as rows:
        vms = rows.execute(
            "SELECT id, generation, name, backend FROM virtual_machines WHERE status != 'deleted' ORDER BY id"
        ).fetchall()
        snapshots = rows.execute(
            "SELECT reference, backend FROM snapshots WHERE state IN ('ready', 'kept') ORDER BY id"
        ).fetchall()
    return Known(
        tuple(
            KnownVM(MachineKey(number, generation), name, backend)
            for number, generation, name, backend in vms
        ),
        tuple((reference, backend) for reference, backend in snapshots),
    )
