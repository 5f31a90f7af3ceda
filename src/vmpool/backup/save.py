"""Making a backup, beside a server that runs or without one.

The database is copied first, in one consistent state; that moment is the backup's.  Then each VM it knows is
held still for as long as its disk is copied (by reference, where the file system can).  A VM that is deleted
in between is named as missing; one that is made in between is not in it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from vmpool import __version__
from vmpool.backends.bubblewrap import copies
from vmpool.backup import archive, database
from vmpool.backup.database import Known
from vmpool.backup.manifest import FORMAT, Manifest
from vmpool.errors import InvalidRequest, VMPoolError
from vmpool.settings import Settings

BUBBLEWRAP = "bubblewrap"
LEFT_OUT = frozenset(
    {
        *("lock", "start.lock", "server.json", "server.log"),  # of a running server
        *(database.NAME, f"{database.NAME}-wal", f"{database.NAME}-shm"),  # copied by SQLite
        *("secrets.key", "webhooks.key"),  # beside the database they would open it to whoever has the file
        *(BUBBLEWRAP, "docker"),  # a machine at a time, or the engine's
    }
)


def save(settings: Settings, target: Path) -> Manifest:
    """Write the state directory of `settings` to `target`, with everything a new host needs that can be had.

    Run it as the server's user.  Raises InvalidRequest where there is nothing to save or `target` exists.
    """
    state_dir = settings.state_dir
    if not (state_dir / "pool_id").is_file():
        raise InvalidRequest("state_dir", f"{state_dir} is no state directory of a vmpool server")
    if target.exists():
        raise InvalidRequest("FILE", f"{target} exists; name another file")
    # Beside the target: there is room for it there, or there is none for the backup either.
    with tempfile.TemporaryDirectory(prefix=".vmpool-backup-", dir=target.parent) as staging:
        content = Path(staging) / "state"
        content.mkdir(mode=0o700)
        missing: list[str] = []
        pool_id = (state_dir / "pool_id").read_text(encoding="ascii").strip()
        vms = snapshots = 0
        if settings.database_url:
            missing.append("the database lies elsewhere (database_url): back it up there, at the same time")
        else:
            database.copy(state_dir / database.NAME, content / database.NAME)
            rows = database.known(content / database.NAME)
            vms = _machines(rows, state_dir, pool_id, content, missing)
            snapshots = _snapshots(rows, state_dir, content, missing)
        _rest(state_dir, content)
        manifest = Manifest(
            FORMAT,
            __version__,
            datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            pool_id,
            vms,
            snapshots,
            tuple(missing),
        )
        manifest.write(content)
        archive.pack(content, target)
    archive.verify(target)
    return manifest


def _machines(rows: Known, state_dir: Path, pool_id: str, content: Path, missing: list[str]) -> int:
    count = 0
    for vm in rows.vms:
        what = f"VM {vm.key.vm_id} '{vm.name}'"
        if vm.backend != BUBBLEWRAP:
            missing.append(f"the files of {what} are with the {vm.backend} engine")
            continue
        try:
            if copies.copy_machine(state_dir / BUBBLEWRAP, pool_id, vm.key, content / BUBBLEWRAP):
                count += 1
            else:
                missing.append(f"{what} was being made or deleted")
        except VMPoolError as error:
            missing.append(f"the files of {what}: {error.message}")
    return count


def _snapshots(rows: Known, state_dir: Path, content: Path, missing: list[str]) -> int:
    ours = [reference for reference, backend in rows.snapshots if backend == BUBBLEWRAP]
    theirs = len(rows.snapshots) - len(ours)
    if theirs:
        missing.append(f"{theirs} snapshots are images of the docker engine (docker save keeps them)")
    gone = copies.copy_snapshots(state_dir / BUBBLEWRAP, ours, content / BUBBLEWRAP)
    missing += [f"snapshot {reference} was being deleted" for reference in gone]
    return len(ours) - len(gone)


def _rest(state_dir: Path, content: Path) -> None:
    """Whatever else the server keeps: the pool's id, the owner's key, output that rows do not hold."""
    for entry in state_dir.iterdir():
        if entry.name in LEFT_OUT or entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, content / entry.name, symlinks=True, copy_function=_copied)
        elif entry.is_file() and not entry.is_symlink():
            _copied(entry, content / entry.name)


def _copied(source: str | Path, target: str | Path) -> None:
    """Copy a file that a running server may be appending to, or remove meanwhile because it is too old."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target)
