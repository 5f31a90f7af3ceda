"""Other limits for a machine that is there.  Everything here blocks: call it from a thread."""

from __future__ import annotations

import errno
from dataclasses import replace

from vmpool.backends import disks
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.bubblewrap import launching
from vmpool.backends.bubblewrap.layout import Record, read_record, write_record
from vmpool.backends.bubblewrap.machines import Machines
from vmpool.domain import Limits
from vmpool.errors import BackendFailed, Unsupported

NAME = "bubblewrap"


def resize(machines: Machines, key: MachineKey, spec: MachineSpec) -> None:
    """See `SupportsResize`.  The record is written last: what a start goes by is what holds now."""
    paths = machines.layout.vm(key)
    if not paths.home.exists():
        raise BackendFailed(f"machine {key} is not there")
    with launching.held(paths.lock):
        record = read_record(paths.record)
        if record is None or not paths.made.exists():
            raise BackendFailed(f"machine {key} was never made; create it")
        running = machines.first_process(paths) is not None
        _refuse(record, spec.limits, machines.cgroups.holds, running)
        if running:
            _change_groups(machines, machines.group(key), record.spec.limits, spec.limits)
        disk = max(spec.limits.disk, disks.SMALLEST_IMAGE_MB)
        if record.image and disk > record.disk:
            disks.grow(paths.image, disk)
        write_record(paths.record, replace(record, disk=disk, spec=replace(record.spec, limits=spec.limits)))


def _refuse(record: Record, asked: Limits, held_by_groups: frozenset[str], running: bool) -> None:
    """Unsupported for what cannot be changed as things are."""
    now = record.spec.limits
    if record.image and asked.disk < record.disk and asked.disk != now.disk:
        raise Unsupported("disk_limit", NAME, "a disk only grows")
    if not running:
        return
    if record.in_memory and asked.disk != now.disk:
        raise Unsupported("disk_limit", NAME, "the files are in memory; stop the VM first")
    if record.image and asked.disk > record.disk:
        raise Unsupported("disk_limit", NAME, "a running VM's disk does not grow; stop it first")
    for limit, before, after in (
        ("memory", now.memory, asked.memory),
        ("processes", now.processes, asked.processes),
    ):
        if before != after and limit not in held_by_groups:
            field = "memory_limit" if limit == "memory" else "process_limit"
            raise Unsupported(field, NAME, "no control group holds it here; stop the VM first")


def _change_groups(machines: Machines, group: str, before: Limits, after: Limits) -> None:
    try:
        machines.cgroups.change(group, after)
    except OSError as failed:
        machines.cgroups.change(group, before)
        if failed.errno != errno.EBUSY:
            raise
        raise BackendFailed(f"the VM uses more than {after.memory} MB of memory now") from failed
