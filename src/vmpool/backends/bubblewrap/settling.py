"""Finding out, once at start, how much this host lets the backend do: by launching a throwaway VM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vmpool.backends import disks
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.bubblewrap import cgroups, skeleton
from vmpool.backends.bubblewrap.bases import Bases, Look
from vmpool.backends.bubblewrap.host import REMEDIES, Grade, Host, Programs, boot_id, find_programs
from vmpool.backends.bubblewrap.launching import Launcher
from vmpool.backends.bubblewrap.layout import Layout
from vmpool.backends.bubblewrap.machines import Machines
from vmpool.backends.bubblewrap.ranges import Ranges
from vmpool.backends.bubblewrap.toolchains import discover
from vmpool.domain import Limits
from vmpool.errors import BackendFailed, BackendUnreachable

PROBE = MachineKey(0, 0)
PROBE_SPEC = MachineSpec("probe", "bash", Limits(disk=disks.SMALLEST_IMAGE_MB))


def _ways(wanted: Grade | None) -> Iterator[tuple[Grade, bool]]:
    """(grade, disk images) to try, the best first."""
    if os.geteuid() == 0 and wanted is not Grade.USER:
        if disks.mkfs_program() is not None:
            yield Grade.ROOT, True
        yield Grade.ROOT, False
    if wanted is not Grade.ROOT:
        yield Grade.USER, False


def storage_of(host: Host) -> str:
    """How a VM's writable layer is kept; part of what a snapshot stands on."""
    kind = "image" if host.images else "memory" if host.in_memory else "tree"
    return f"{host.grade} {kind}"


def settle(
    layout: Layout,
    pool_id: str,
    wanted: Grade | None = None,
    program: Path | None = None,
    disk_in_memory: bool = False,
) -> Machines:
    """The best this host allows.  BackendUnreachable tells what was tried and what would help.

    wanted: settle for this grade only.  program: bubblewrap; None looks for it.  disk_in_memory: where an
    ordinary user's disks could not be limited, keep them in memory.  Blocks: run it in a thread.
    """
    programs, version = find_programs(program)
    system = skeleton.system_directories()
    look = Look(skeleton.root_only_command(system) if os.geteuid() == 0 else None)
    try:
        return _best(layout, pool_id, wanted, programs, version, system, look, disk_in_memory)
    except BaseException:
        look.close()
        raise


def _best(
    layout: Layout,
    pool_id: str,
    wanted: Grade | None,
    programs: Programs,
    version: str,
    system: tuple[str, ...],
    look: Look,
    disk_in_memory: bool,
) -> Machines:
    toolchains, tree = discover(), cgroups.find_tree(pool_id)
    launcher, ranges = Launcher(programs.launcher), Ranges(pool_id)
    refusals = []
    for grade, images in _ways(wanted):
        host = Host(grade, images, programs, version, disk_in_memory and grade is Grade.USER)
        digest = skeleton.base_digest(toolchains.prefixes, storage_of(host))
        machines = Machines(
            layout=layout,
            host=host,
            cgroups=tree,
            toolchains=toolchains,
            system=system,
            base=digest,
            bases=Bases(layout.bases, digest, toolchains.prefixes, look),
            look=look,
            boot=boot_id(),
            pool_id=pool_id,
            launcher=launcher,
            ranges=ranges,
        )
        try:
            return _proven(machines)
        except BackendFailed as failed:
            refusals.append(f"{grade}{' with disk images' if images else ''}: {failed.message}")
    launcher.close()
    tree.remove_parents()
    raise BackendUnreachable("bubblewrap cannot make a VM here. " + "; ".join(refusals) + "\n" + REMEDIES)


def _proven(machines: Machines) -> Machines:
    """The same, after a VM was launched and removed; without control groups where those failed it."""
    machines.destroy(PROBE)
    try:
        machines.make(PROBE, machines.record_for(PROBE_SPEC, machines.bases.likely()))
    except BackendFailed as failed:
        if not machines.cgroups.parents or "join" not in failed.message:
            raise
        machines = replace(machines, cgroups=cgroups.CgroupTree(0, {}))
        machines.make(PROBE, machines.record_for(PROBE_SPEC, machines.bases.likely()))
    machines.destroy(PROBE)
    return machines
