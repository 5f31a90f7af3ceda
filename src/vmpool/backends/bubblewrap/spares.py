"""Handing a running machine on to somebody.  Everything here blocks: call it from a thread."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Final

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.bubblewrap import launching
from vmpool.backends.bubblewrap.argv import LOCK_FD
from vmpool.backends.bubblewrap.host import Grade
from vmpool.backends.bubblewrap.layout import read_record, write_record
from vmpool.backends.bubblewrap.machines import Machines
from vmpool.errors import BackendFailed

HELD_BY_GROUPS: Final = frozenset({"cpu", "memory", "processes"})


def possible(machines: Machines) -> bool:
    """Whether limits and hostname of a running machine can be changed here.

    What stands in for a group (a process's own limits, the size of a /tmp in memory) cannot.
    """
    return machines.host.grade is Grade.ROOT and machines.cgroups.holds >= HELD_BY_GROUPS


def can_claim(made: MachineSpec, asked: MachineSpec) -> bool:
    """Whether a spare made to the first can become the second."""
    return (
        (made.template, made.network, made.limits.disk) == (asked.template, asked.network, asked.limits.disk)
        and asked.snapshot is None
        and made.snapshot is None
    )


def claim(machines: Machines, spare: MachineKey, key: MachineKey, spec: MachineSpec) -> None:
    """Make the running spare the machine of `key`.

    The directory's new name is the last step and the one that counts: before it a later server finds a spare,
    after it the machine with all that it has to be.
    """
    paths = machines.layout.vm(spare)
    if not paths.home.exists():
        raise BackendFailed(f"machine {spare} is not there")
    with launching.held(paths.lock):
        record, process = read_record(paths.record), machines.first_process(paths)
        if record is None or process is None:
            raise BackendFailed(f"machine {spare} does not run")
        machines.cgroups.change(machines.group(spare), spec.limits)
        names = os.open(f"/proc/{process.pid}/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not process.alive:  # now the descriptor is known to be of no other
                raise BackendFailed(f"machine {spare} does not run")
            machines.launcher.run(("hostname", str(LOCK_FD), spec.hostname, "end"), (names,))
        finally:
            os.close(names)
        machines.write_names(paths, spec.hostname)
        write_record(paths.record, replace(record, spec=spec))
        machines.destroy(key)  # what a crash left half made
        paths.home.rename(machines.layout.vm(key).home)
        machines.ranges.hand_on(spare, key)


def outdated(machines: Machines, keys: list[MachineKey]) -> list[MachineKey]:
    """Those of the spares that stand on an earlier base."""
    records = {key: read_record(machines.layout.vm(key).record) for key in keys if key.is_spare}
    return [
        key for key, record in records.items() if record is None or record.tree != machines.base_tree.name
    ]
