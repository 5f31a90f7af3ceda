"""A control group per VM, on version 1 and version 2 hierarchies.

Finding where groups may be made is pure over the text of /proc/self/mountinfo and /proc/self/cgroup; the rest
reads and writes small files, which never blocks for long.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vmpool.backends.base import Usage
from vmpool.domain import Limits

MB = 1 << 20
CPU_PERIOD_US = 100_000
SMALLEST_QUOTA_US = 1000
FREEZE_SECONDS = 5.0
REMOVE_SECONDS = 2.0
MAKE_ATTEMPTS = 100
V1_SWAP, V2_SWAP = "memory.memsw.limit_in_bytes", "memory.swap.max"
V1_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids", "freezer")
V2_CONTROLLERS = ("memory", "cpu", "pids")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A mounted hierarchy and the group of it we are in.  controllers: empty for version 2."""

    mount: Path
    own: str
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class CgroupTree:
    """Where VMs' groups are made: a directory per controller, the same one for all on version 2.

    limits_swap: no VM can use swap beyond its memory, or the host has none.
    Empty `parents`: no group can be made here, and nothing is limited or counted by one.
    """

    version: int
    parents: Mapping[str, Path]
    limits_swap: bool = True

    @property
    def holds(self) -> frozenset[str]:
        """Which of "memory", "cpu" and "processes" are limited."""
        names = {"memory": "memory", "cpu": "cpu", "pids": "processes"}
        return frozenset(names[c] for c in self.parents if c in names)

    def _group(self, controller: str, name: str) -> Path | None:
        parent = self.parents.get(controller)
        return None if parent is None else parent / name

    def _groups(self, name: str) -> list[str]:
        return [f"{parent}/{name}" for parent in dict.fromkeys(self.parents.values())]

    def make(self, name: str, limits: Limits) -> tuple[str, ...]:
        """Make the VM's groups with its limits; their `cgroup.procs` files, to be joined.

        Those of an earlier start are emptied and made anew: what they counted is over.
        """
        groups = self._groups(name)
        for group in groups:
            try:
                Path(group).mkdir()
            except FileNotFoundError:
                _make_group(group)
            except FileExistsError:
                self._remove_group(group)
                _make_group(group)
        self._write(name, _settings(self.version, limits))
        return tuple(f"{group}/cgroup.procs" for group in groups)

    def change(self, name: str, limits: Limits) -> None:
        """Give the VM's groups other limits while it runs."""
        if self.version == 1:
            # Memory alone may never be more than memory and swap: out of the way before it grows.
            self._write(name, [("memory", V1_SWAP, "-1", True)])
        self._write(name, _settings(self.version, limits))

    def _write(self, name: str, settings: Iterable[tuple[str, str, str, bool]]) -> None:
        flags = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
        for controller, file, value, optional in settings:
            parent = self.parents.get(controller)
            if parent is None:
                continue
            try:
                setting = os.open(f"{parent}/{name}/{file}", flags | (0 if optional else os.O_CREAT), 0o644)
            except FileNotFoundError:
                if optional:
                    continue
                raise
            try:
                os.write(setting, value.encode())
            finally:
                os.close(setting)

    def remove(self, name: str) -> None:
        """Remove the VM's groups; absent ones are right.

        The VM's first process has ended.  What is in a group nevertheless was left by a killed launcher.
        """
        for group in self._groups(name):
            self._remove_group(group)
        if self.version == 1:  # on version 2 they hand controllers down, which takes time to set up again
            self.remove_parents()

    def _remove_group(self, group: str) -> None:
        deadline = time.monotonic() + REMOVE_SECONDS
        while True:
            try:
                Path(group).rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                _kill_members(group)
                time.sleep(0.002)  # the kernel counts an ended process out a moment later
            else:
                return

    def names(self) -> set[str]:
        """Every group below our parents."""
        return {
            entry.name
            for parent in set(self.parents.values())
            if parent.is_dir()
            for entry in parent.iterdir()
            if entry.is_dir()
        }

    def remove_parents(self) -> None:
        """Remove the pool's own directories where nothing is left in them."""
        for parent in set(self.parents.values()):
            for directory in (parent, parent.parent):
                try:
                    directory.rmdir()
                except OSError:
                    break

    def usage(self, name: str) -> Usage:
        """What the groups count; None for what no group does."""
        memory, cpu, pids = (self._group(c, name) for c in ("memory", "cpu", "pids"))
        if self.version == 2:
            cpu_us = _field(cpu, "cpu.stat", "usage_usec")
            return Usage(
                cpu_seconds=None if cpu_us is None else cpu_us / 1e6,
                memory_bytes=_number(memory, "memory.current"),
                memory_peak_bytes=_number(memory, "memory.peak"),
                processes=_number(pids, "pids.current"),
                oom_kills=_field(memory, "memory.events", "oom_kill"),
            )
        cpu_ns = _number(self._group("cpuacct", name), "cpuacct.usage")
        return Usage(
            cpu_seconds=None if cpu_ns is None else cpu_ns / 1e9,
            memory_bytes=_number(memory, "memory.usage_in_bytes"),
            memory_peak_bytes=_number(memory, "memory.max_usage_in_bytes"),
            processes=_number(pids, "pids.current"),
            oom_kills=_field(memory, "memory.oom_control", "oom_kill"),
        )

    @property
    def can_freeze(self) -> bool:
        """Whether every process of a VM can be held at once."""
        return bool(self.parents) and (self.version == 2 or "freezer" in self.parents)

    def freeze(self, name: str) -> bool:
        """Hold every process; whether they are held."""
        deadline = time.monotonic() + FREEZE_SECONDS
        while time.monotonic() < deadline:
            if self.version == 2:
                group = self._group("memory", name) or Path(self._groups(name)[0])
                (group / "cgroup.freeze").write_text("1", encoding="ascii")
                frozen = _field(group, "cgroup.events", "frozen") == 1
            else:
                file = self.parents["freezer"] / name / "freezer.state"
                file.write_text("FROZEN", encoding="ascii")
                frozen = file.read_text(encoding="ascii").strip() == "FROZEN"
            if frozen:
                return True
            time.sleep(0.001)
        return False

    def thaw(self, name: str) -> None:
        """Let them go on; a VM that is not there or not held is right."""
        if not self.can_freeze:
            return
        if self.version == 2:
            files = [(Path(group, "cgroup.freeze"), "0") for group in self._groups(name)]
        else:
            files = [(self.parents["freezer"] / name / "freezer.state", "THAWED")]
        for file, value in files:
            if file.exists():
                file.write_text(value, encoding="ascii")


def _make_group(group: str) -> None:
    """Make it and its parents, which another thread may be removing because its VM was the last."""
    for _ in range(MAKE_ATTEMPTS):
        try:
            Path(group).mkdir(parents=True, exist_ok=True)
        except FileNotFoundError:
            continue
        return
    raise FileNotFoundError(f"{group} cannot be made")


def _kill_members(group: str) -> None:
    """Kill what is in it: at once where the kernel does that (version 2, Linux 5.14), else one by one."""
    try:
        kill = os.open(f"{group}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        pass
    else:
        try:
            os.write(kill, b"1")
        finally:
            os.close(kill)
        return
    try:
        members = Path(group, "cgroup.procs").read_text(encoding="ascii").split()
    except OSError:
        return
    for member in members:
        # What lies outside our PID namespace is listed as 0, which to kill(2) is our own process group.
        if member == "0":
            continue
        try:
            os.kill(int(member), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _settings(version: int, limits: Limits) -> list[tuple[str, str, str, bool]]:
    """(controller, file, value, optional) in the order they must be written."""
    memory = str(limits.memory * MB)
    quota = str(max(int(limits.cpu * CPU_PERIOD_US), SMALLEST_QUOTA_US))
    pids = ("pids", "pids.max", str(limits.processes), False)
    if version == 2:
        return [
            ("memory", "memory.max", memory, False),
            ("memory", V2_SWAP, "0", True),
            ("cpu", "cpu.max", f"{quota} {CPU_PERIOD_US}", False),
            pids,
        ]
    return [
        ("memory", "memory.limit_in_bytes", memory, False),
        ("memory", V1_SWAP, memory, True),
        ("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US), False),
        ("cpu", "cpu.cfs_quota_us", quota, False),
        pids,
    ]


def _number(group: Path | None, file: str) -> int | None:
    if group is None:
        return None
    try:
        return int((group / file).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _field(group: Path | None, file: str, name: str) -> int | None:
    if group is None:
        return None
    try:
        lines = (group / file).read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def parse_hierarchies(mountinfo: str, own: str) -> list[Hierarchy]:
    """The hierarchies mounted, from /proc/self/mountinfo and /proc/self/cgroup."""
    paths: dict[frozenset[str], str] = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        paths[frozenset(names.split(",")) - {""}] = path
    found: list[Hierarchy] = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        mount = Path(left.split(" ")[4])
        if kind == "cgroup2":
            controllers: frozenset[str] = frozenset()
        elif kind == "cgroup":
            known = {name for group in paths for name in group}
            controllers = frozenset(options.split(",")) & known
        else:
            continue
        if controllers in paths:
            found.append(Hierarchy(mount, paths[controllers], controllers))
    return found


def _writable(directory: Path) -> bool:
    return os.access(directory, os.W_OK) and os.access(directory / "cgroup.procs", os.W_OK)


def _v1_parents(hierarchies: Iterable[Hierarchy], pool_id: str) -> dict[str, Path]:
    """At the hierarchy's root, so that a VM does not end with its server's group."""
    parents: dict[str, Path] = {}
    for hierarchy in hierarchies:
        for place in (hierarchy.mount, hierarchy.mount / hierarchy.own.lstrip("/")):
            if _writable(place):
                for controller in hierarchy.controllers & frozenset(V1_CONTROLLERS):
                    parents[controller] = place / "vmpool" / pool_id
                break
    return parents


def _enable(directory: Path) -> frozenset[str]:
    """Hand the controllers down one level; those that are then there."""
    control = directory / "cgroup.subtree_control"
    for controller in V2_CONTROLLERS:
        try:
            control.write_text(f"+{controller}", encoding="ascii")
        except OSError:  # not ours to hand down, or processes in the way
            continue
    try:
        return frozenset(control.read_text(encoding="ascii").split()) & frozenset(V2_CONTROLLERS)
    except OSError:
        return frozenset()


def _v2_parents(hierarchy: Hierarchy, pool_id: str) -> dict[str, Path]:
    """Below the highest group of our own line that we may write and that hands controllers down."""
    line = [hierarchy.mount]
    for part in Path(hierarchy.own.lstrip("/")).parts:
        line.append(line[-1] / part)
    for place in line:
        if not _writable(place) or not _enable(place):
            continue
        parent = place / "vmpool" / pool_id
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        _enable(parent.parent)
        controllers = _enable(parent)
        if controllers:
            return dict.fromkeys(controllers, parent)
    return {}


def find_tree(pool_id: str, proc: Path = Path("/proc/self"), swaps: Path = Path("/proc/swaps")) -> CgroupTree:
    """Where this process may make groups, version 1 first where it has the controllers."""
    tree = _find(pool_id, proc)
    memory = tree.parents.get("memory")
    if memory is None or len(swaps.read_text(encoding="utf-8").splitlines()) < 2:  # it has a heading
        return tree
    # Version 1 has the file at the root already, version 2 in every group below it.
    file = memory.parents[1] / V1_SWAP if tree.version == 1 else memory / V2_SWAP
    return replace(tree, limits_swap=file.exists())


def _find(pool_id: str, proc: Path) -> CgroupTree:
    hierarchies = parse_hierarchies(
        (proc / "mountinfo").read_text(encoding="utf-8"), (proc / "cgroup").read_text(encoding="utf-8")
    )
    first = _v1_parents((h for h in hierarchies if h.controllers), pool_id)
    if first:
        return CgroupTree(1, first)
    for hierarchy in hierarchies:
        if not hierarchy.controllers:
            second = _v2_parents(hierarchy, pool_id)
            if second:
                return CgroupTree(2, second)
    return CgroupTree(0, {})
