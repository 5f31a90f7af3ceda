"""Copies of machines and snapshots for a backup, and putting them back.  Everything here blocks.

They work on the backend's directory alone, beside a server that runs or without one.  A machine's lock keeps
the server from changing it meanwhile, and its processes are held for as long as its disk is copied.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from vmpool.backends import disks
from vmpool.backends.base import MachineKey
from vmpool.backends.bubblewrap import cgroups, launching
from vmpool.backends.bubblewrap.host import Programs, boot_id, find_programs
from vmpool.backends.bubblewrap.layout import Layout, Record, VMPaths, read_record, write_record
from vmpool.backends.bubblewrap.snapshots import RECORD, SIZE
from vmpool.backends.bubblewrap.stillness import still
from vmpool.errors import BackendFailed

TREE = "disk.tar"
"""A disk that is a directory, as one file: its owners and modes are not ours to hold elsewhere."""
TAR = ("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sparse")


def copy_machine(home: Path, pool_id: str, key: MachineKey, target: Path) -> bool:
    """Copy a machine's record and disk below `target`, as the backend has them; False where there is none.

    home: the backend's directory.  BackendFailed where it cannot be held still.
    """
    layout = Layout(home)
    paths = layout.vm(key)
    if not paths.made.exists():
        return False
    copied = Layout(target).vm(key)
    with launching.held(paths.lock), still(layout, cgroups.find_tree(pool_id), boot_id(), key):
        record = read_record(paths.record)
        if record is None or not paths.made.exists():  # it was deleted while we waited
            return False
        copied.home.mkdir(parents=True)
        _copy_disk(record, paths, copied.home)
    write_record(copied.record, record)
    copied.made.touch()
    return True


def copy_snapshots(home: Path, references: Iterable[str], target: Path) -> list[str]:
    """Copy these snapshots, which never change; those that are not there are answered."""
    missing = []
    for reference in references:
        source, copied = Layout(home).snapshots / reference, Layout(target).snapshots / reference
        record = read_record(source / RECORD)
        if record is None:
            missing.append(reference)
            continue
        copied.mkdir(parents=True)
        _copy_disk(record, VMPaths(source), copied)
        for name in (SIZE, RECORD):
            shutil.copyfile(source / name, copied / name)
    return missing


def put_back(home: Path) -> None:
    """Make what was copied below `home` what the backend expects: trees unpacked, disks whole.

    A machine's disk that was copied while it was mounted is checked, since nothing will unmount it.  A
    snapshot's stays as it is, down to the byte: it was written out when it was kept, and is sealed.
    """
    layout = Layout(home)
    directories = (layout.vms, layout.snapshots)
    for directory in (one for where in directories if where.is_dir() for one in where.iterdir()):
        packed, image = directory / TREE, directory / "disk.ext4"
        if packed.exists():
            tree = directory / "disk"
            tree.mkdir()
            launching.as_root(_programs(), *TAR, "--extract", "--file", str(packed), "--directory", str(tree))
            packed.unlink()
        if directory.parent == layout.vms and image.exists() and disks.was_left_mounted(image):
            disks.repair(image)


def _copy_disk(record: Record, paths: VMPaths, target: Path) -> None:
    if record.image:
        disks.copy_sparse(paths.image, target / "disk.ext4")
    elif paths.tree.is_dir():
        packed = target / TREE
        launching.as_root(
            _programs(), *TAR, "--create", "--file", str(packed), "--directory", str(paths.tree), "."
        )


def _programs() -> Programs:
    if shutil.which("tar") is None:
        raise BackendFailed("tar is not installed")
    return find_programs()[0]
