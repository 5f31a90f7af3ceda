"""Kept states of a VM's disk.  Everything here blocks: call it from a thread."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

from vmpool.backends import disks
from vmpool.backends.base import MachineKey, StoredSnapshot
from vmpool.backends.bubblewrap import launching, seals
from vmpool.backends.bubblewrap.layout import Record, VMPaths, read_record, write_record
from vmpool.backends.bubblewrap.machines import Machines
from vmpool.backends.bubblewrap.stillness import still, write_out
from vmpool.errors import (
    BackendFailed,
    InvalidRequest,
    SnapshotDamaged,
    SnapshotMismatch,
    SnapshotNotFound,
    Unsupported,
)

REFERENCE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
RECORD, SIZE = "record.json", "size"
AFTER, LAST = "after", "last-snapshot"
"""In a snapshot the one it came after, in a VM's directory the last one of it."""


def directory_of(machines: Machines, reference: str) -> Path:
    """Where the snapshot is, or would be; InvalidRequest for what cannot be a reference."""
    if not REFERENCE.fullmatch(reference):
        raise InvalidRequest("snapshot", f"'{reference}' is not a snapshot's reference")
    return machines.layout.snapshots / reference


def stored_in(directory: Path) -> StoredSnapshot | None:
    """The snapshot in this directory; None where there is none."""
    record = read_record(directory / RECORD)
    if record is None:
        return None
    return StoredSnapshot(directory.name, record.base, int((directory / SIZE).read_text(encoding="ascii")))


def starting_point(machines: Machines, record: Record) -> tuple[Record, Path | None]:
    """The record a new VM gets and the directory its disk is copied from (None: an empty one).

    Raises SnapshotNotFound, or SnapshotMismatch where the snapshot stands on another base.
    """
    reference = record.spec.snapshot
    if reference is None:
        return record, None
    directory = directory_of(machines, reference)
    kept = read_record(directory / RECORD)
    if kept is None:
        raise SnapshotNotFound(reference)
    if kept.base != machines.base:
        raise SnapshotMismatch(
            f"snapshot '{reference}' was taken on another system release, toolchain or kind of disk "
            f"({kept.base}) than this host has now ({machines.base})",
            snapshot_base=kept.base,
            host_base=machines.base,
        )
    if kept.image and kept.disk > record.disk:  # a smaller one grows
        warning = f"the disk has {kept.disk} MB as in the snapshot, not {record.disk}"
        record = replace(record, disk=kept.disk, warnings=(*record.warnings, warning))
    return record, directory


def take(machines: Machines, key: MachineKey, reference: str) -> StoredSnapshot:
    """Copy the VM's disk while nothing in it runs; a snapshot of this name that exists is the answer."""
    directory = directory_of(machines, reference)
    existing = stored_in(directory)
    if existing is not None:
        return existing
    paths = machines.layout.vm(key)
    record = read_record(paths.record)
    if record is None or not paths.made.exists():
        raise BackendFailed(f"machine {key} was never made; there is nothing to keep")
    if record.in_memory:
        raise Unsupported("snapshot", "bubblewrap", "the VM's files are in memory")
    building = Path(mkdtemp(prefix=".new-", dir=machines.layout.snapshots))
    try:
        with launching.held(paths.lock), still(machines.layout, machines.cgroups, machines.boot, key):
            if record.image:
                disks.copy_sparse(paths.image, building / "disk.ext4")
            else:
                launching.as_root(
                    machines.host.programs, *disks.COPY_TREE, str(paths.tree), str(building / "disk")
                )
        write_out(building)
        (building / SIZE).write_text(str(disks.tree_use(building)), encoding="ascii")
        (building / AFTER).write_text(_last(paths, record), encoding="ascii")
        write_record(building / RECORD, record)
        building.rename(directory)
        (paths.home / LAST).write_text(reference, encoding="ascii")
    finally:
        machines.remove_tree(building)
    stored = stored_in(directory)
    if stored is None:
        raise BackendFailed(f"snapshot '{reference}' was removed while it was taken")
    return stored


def seal(machines: Machines, reference: str) -> str:
    """What `verify` compares with; SnapshotNotFound."""
    directory = directory_of(machines, reference)
    record = read_record(directory / RECORD)
    if record is None:
        raise SnapshotNotFound(reference)
    before = _before(machines, directory)
    text = seals.seal(directory, record, machines.host.programs, before)
    seals.note(directory, text)
    return sha256(text.encode()).hexdigest()


def _before(machines: Machines, directory: Path) -> Path | None:
    """The snapshot this one came after, where the backend has noted it and has it still."""
    try:
        reference = (directory / AFTER).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
    return machines.layout.snapshots / reference if REFERENCE.fullmatch(reference) else None


def verify(machines: Machines, reference: str, expected: str) -> None:
    """SnapshotDamaged unless the snapshot is what it was when `seal` answered `expected`."""
    directory = directory_of(machines, reference)
    record = read_record(directory / RECORD)
    if record is None:
        raise SnapshotDamaged("its record is gone or cannot be read")
    try:
        text = seals.seal(directory, record, machines.host.programs)  # all of it is read
    except (OSError, BackendFailed) as error:
        raise SnapshotDamaged("a part of it is gone or cannot be read") from error
    if sha256(text.encode()).hexdigest() != expected:
        raise SnapshotDamaged("its files are not what was kept")


def _last(paths: VMPaths, record: Record) -> str:
    """What the VM was last kept as, or made from; "" for nothing."""
    try:
        return (paths.home / LAST).read_text(encoding="ascii")
    except FileNotFoundError:
        return record.spec.snapshot or ""


def delete(machines: Machines, reference: str) -> None:
    """Remove it; the record goes first, so that half a snapshot is never one."""
    directory = directory_of(machines, reference)
    (directory / RECORD).unlink(missing_ok=True)
    machines.remove_tree(directory)


def present(machines: Machines) -> list[StoredSnapshot]:
    """Every snapshot, by reference."""
    stored = (stored_in(entry) for entry in sorted(machines.layout.snapshots.iterdir()))
    return [snapshot for snapshot in stored if snapshot is not None]
