"""Holding a VM still while its disk is copied, by the server or by a backup beside it.  All of it blocks."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmpool.backends import disks
from vmpool.backends.base import MachineKey
from vmpool.backends.bubblewrap import processes
from vmpool.backends.bubblewrap.cgroups import CgroupTree
from vmpool.backends.bubblewrap.layout import Layout, VMPaths, read_record
from vmpool.backends.bubblewrap.processes import ProcessId
from vmpool.errors import BackendFailed

HELD = "held"
"""A file in the VM's directory while its processes are held, so that a later server can let them go."""


@contextmanager
def still(layout: Layout, cgroups: CgroupTree, boot: str, key: MachineKey) -> Iterator[None]:
    """Hold every process and write out what the VM's file system has in memory.

    The caller has the VM's lock.  BackendFailed where the processes cannot be held.
    """
    paths = layout.vm(key)
    process = _first(paths, boot)
    if process is None:
        disks.wait_until_released(paths.image)
        yield
        return
    (paths.home / HELD).touch()
    try:
        hold(paths, cgroups, key, process)
        write_out(Path(f"/proc/{process.pid}/root"))
        yield
    finally:
        let_go(layout, cgroups, boot, key)


def hold(paths: VMPaths, cgroups: CgroupTree, key: MachineKey, process: ProcessId) -> None:
    """Hold every process, by its control group or each by a signal; BackendFailed where that cannot be."""
    group = _group(paths, key)
    held = cgroups.freeze(group) if _freezes(cgroups, group) else processes.stop_all(process)
    if not held:
        raise BackendFailed(f"the processes of machine {key} cannot be held")


def let_go(layout: Layout, cgroups: CgroupTree, boot: str, key: MachineKey) -> None:
    """Undo the holding of `still`, also one that a killed process left.  A VM that is paused stays so."""
    paths = layout.vm(key)
    if not (paths.home / HELD).exists():
        return
    if not paths.paused.exists():
        release(paths, cgroups, boot, key)
    (paths.home / HELD).unlink(missing_ok=True)


def release(paths: VMPaths, cgroups: CgroupTree, boot: str, key: MachineKey) -> None:
    """Let every process go on, held or not."""
    process = _first(paths, boot)
    cgroups.thaw(_group(paths, key))
    if process is not None:  # whoever held it may have had no control groups
        processes.continue_all(process)


def write_out(directory: Path) -> None:
    """Write out the file system `directory` is on: syncfs(2), which the standard library lacks."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(fd) != 0:
            raise BackendFailed(f"cannot write to disk: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(fd)


def _first(paths: VMPaths, boot: str) -> ProcessId | None:
    process = processes.recorded(paths.pidfile(boot))
    return process if process is not None and process.alive else None


def _group(paths: VMPaths, key: MachineKey) -> str:
    record = read_record(paths.record)
    return record.name if record is not None and record.name else str(key)


def _freezes(cgroups: CgroupTree, group: str) -> bool:
    return cgroups.can_freeze and group in cgroups.names()
