"""Holding a VM's processes for as long as its owner wants, with their memory.  Everything here blocks."""

from __future__ import annotations

from vmpool.backends.base import MachineKey
from vmpool.backends.bubblewrap import launching, stillness
from vmpool.backends.bubblewrap.machines import Machines
from vmpool.errors import BackendFailed


def pause(machines: Machines, key: MachineKey) -> None:
    """Hold every process; a file says so before they are, that no later server lets them go."""
    paths = machines.layout.vm(key)
    if not paths.home.exists():
        raise BackendFailed(f"machine {key} was never made; create it")
    with launching.held(paths.lock):
        process = machines.first_process(paths)
        if process is None:
            raise BackendFailed(f"machine {key} does not run")
        paths.paused.touch()
        try:
            stillness.hold(paths, machines.cgroups, key, process)
        except BaseException:
            _release(machines, key)
            raise


def resume(machines: Machines, key: MachineKey) -> None:
    """Let every process go on."""
    paths = machines.layout.vm(key)
    if not paths.home.exists():
        raise BackendFailed(f"machine {key} was never made; create it")
    with launching.held(paths.lock):
        _release(machines, key)


def _release(machines: Machines, key: MachineKey) -> None:
    paths = machines.layout.vm(key)
    stillness.release(paths, machines.cgroups, machines.boot, key)
    paths.paused.unlink(missing_ok=True)
