"""What is on the host of one server's state directory, and where it does not agree with the rows.

It looks past the server: at the database's file, /proc, /sys, the backend's directory and the engine.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.unit.bubblewrap.inside import files_below, mounted_images
from vmpool.backends.base import MachineKey

MARK = "VMPOOL_TEST_SITE"
"""A variable every process of a server has, and what it starts to help it; its value is the state
directory."""
SETTLED = ("running", "paused", "stopped")


@dataclass(frozen=True, slots=True)
class Row:
    """A VM's row."""

    id: int
    name: str
    status: str
    key: str


class HostState:
    """One state directory.  backend: "bubblewrap" or "docker"."""

    def __init__(self, state_dir: Path, backend: str) -> None:
        self.state_dir = state_dir
        self.backend = backend

    @property
    def pool_id(self) -> str:
        """Names what this pool has outside its directory."""
        return (self.state_dir / "pool_id").read_text(encoding="ascii").strip()

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database says."""
        (database,) = self.state_dir.glob("*.db")
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return connection.execute(statement, values).fetchall()

    def rows(self) -> list[Row]:
        """Every VM that is not deleted."""
        wanted = (
            "SELECT id, name, status, generation FROM virtual_machines WHERE status <> 'deleted' ORDER BY id"
        )
        found = self.query(wanted)
        return [
            Row(vm, name, status, str(MachineKey(vm, generation))) for vm, name, status, generation in found
        ]

    def first_process(self, key: str) -> int:
        """Process 1 of a running machine, as the host numbers it.

        Never 0, which docker says of a container that does not run, and which to kill(2) is our own group.
        """
        if self.backend == "docker":
            name = f"vmpool-{self.pool_id}-{key}"
            (said,) = _docker("inspect", "--format", "{{.State.Pid}}", name)
        else:
            (file,) = (self.state_dir / "bubblewrap" / "vms" / key).glob("pid.*")
            said = file.read_text(encoding="ascii").split()[0]
        pid = int(said)
        assert pid > 1, f"machine {key} does not run"
        return pid

    def differences(self, *, still_running: frozenset[int] = frozenset()) -> list[str]:
        """Where rows and host do not agree, one sentence each.

        still_running: executions that may be running yet; every other one has to be settled.
        """
        rows = self.rows()
        found = [f"VM {row.name} is {row.status}" for row in rows if row.status not in SETTLED]
        for (execution,) in self.query("SELECT id FROM vm_executions WHERE state = 'running'"):
            if execution not in still_running:
                found.append(f"execution {execution} is said to run")
        for snapshot, state in self.query(
            "SELECT id, state FROM snapshots WHERE state <> 'ready' AND NOT (state = 'kept' AND"
            " id IN (SELECT snapshot_id FROM templates))"
        ):
            found.append(f"snapshot {snapshot} is {state}")
        for template, state in self.query(
            "SELECT id, state FROM templates WHERE state <> 'ready' OR"
            " snapshot_id NOT IN (SELECT id FROM snapshots)"
        ):
            found.append(f"template {template} is {state}, or without its files")
        found += _differ("mounts", self._mounts(), set())
        found += _differ("helpers", set(self._helpers()), set())
        found += self._of_docker(rows) if self.backend == "docker" else self._of_bubblewrap(rows)
        return found

    def _references(self) -> set[str]:
        there = self.query("SELECT reference FROM snapshots WHERE state IN ('ready', 'kept')")
        return {reference for (reference,) in there}

    def _mounts(self) -> set[str]:
        """Mount points in the state directory, as this process sees them."""
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        points = (line.split(" ")[4] for line in lines)
        return {point for point in points if point.startswith(f"{self.state_dir}/")}

    def _helpers(self) -> Iterator[str]:
        """Processes an earlier server started, beside machines: this process's own line is left out."""
        mark = f"{MARK}={self.state_dir}".encode()
        parents = _parents()
        ours = {os.getpid(), *_ancestors(os.getpid(), parents)}
        for pid in parents:
            if pid in ours or os.getpid() in _ancestors(pid, parents):
                continue
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            if mark in environment:
                yield f"{pid} {command.decode(errors='replace')}"

    # -- bubblewrap

    def _of_bubblewrap(self, rows: list[Row]) -> list[str]:
        home = self.state_dir / "bubblewrap"
        running = [row.key for row in rows if row.status in ("running", "paused")]
        spares = {entry.name for entry in (home / "vms").iterdir() if MachineKey.parse(entry.name).is_spare}
        alive = {*running, *spares}
        groups = {self._group(home, key) for key in alive}
        found = _differ(
            "directories of VMs", {e.name for e in (home / "vms").iterdir()} - spares, {r.key for r in rows}
        )
        images = {str(home / "vms" / key / "disk.ext4") for key in alive}
        if any((home / "vms" / key / "disk.ext4").exists() for key in alive):
            found += _differ("loop devices", set(mounted_images(self.state_dir)), images)
        found += _differ("control groups", set(self._groups()), groups)
        found += _differ("control groups with processes", set(_members(self.pool_id).values()), groups)
        found += _differ("snapshots", {e.name for e in (home / "snapshots").iterdir()}, self._references())
        found += _differ("half-made images", {str(e) for e in (home / "images").glob(".new-*")}, set())
        sockets = {str(e.relative_to(home)) for e in files_below(home, ".sock")}
        found += _differ("sockets", sockets, {f"vms/{e.name}/agent.sock" for e in (home / "vms").iterdir()})
        paused = {row.key for row in rows if row.status == "paused"}
        found += _differ(
            "paused machines", {key for key in alive if (home / "vms" / key / "paused").exists()}, paused
        )
        held = [key for key in alive if (home / "vms" / key / "held").exists()]
        return found + [f"machine {key} is held" for key in held]

    def _group(self, home: Path, key: str) -> str:
        """What a machine's control groups are called: one that was claimed keeps the name it was made
        under."""
        try:
            record = json.loads((home / "vms" / key / "record.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return key
        return str(record["name"])

    def _groups(self) -> Iterator[str]:
        for parent in Path("/sys/fs/cgroup").glob(f"*/vmpool/{self.pool_id}"):
            yield from (entry.name for entry in parent.iterdir() if entry.is_dir())

    # -- docker

    def _of_docker(self, rows: list[Row]) -> list[str]:
        prefix = f"vmpool-{self.pool_id}-"
        listed = _docker(
            "ps",
            "--all",
            "--filter",
            f"label=vmpool.pool={self.pool_id}",
            "--format",
            "{{.Names}} {{.State}}",
        )
        there = dict(line.removeprefix(prefix).split(" ", 1) for line in listed if line.startswith(prefix))
        machines = {key: state for key, state in there.items() if not MachineKey.parse(key).is_spare}
        found = _differ("containers", set(machines), {row.key for row in rows})
        # One that fills a volume with the agent is there for a moment only.
        found += [f"container {line}" for line in listed if not line.startswith(prefix)]
        for row in rows:
            state = machines.get(row.key)
            if any((state == word) != (row.status == word) for word in ("running", "paused")):
                found.append(f"container {row.key} is {state}, its row says {row.status}")
        images = _docker("images", f"vmpool-snap/{self.pool_id}", "--format", "{{.Tag}}")
        found += _differ("snapshots", set(images), self._references())
        forgotten = _docker("images", f"vmpool-forgotten/{self.pool_id}", "--format", "{{.Tag}}")
        if len(forgotten) > len(rows):
            found.append(f"images of deleted snapshots: {forgotten}")
        volumes = _docker("volume", "ls", "--quiet", "--filter", f"name=vmpool-agent-{self.pool_id}")
        return found + ([f"volumes: {volumes}"] if len(volumes) > 1 else [])


def _differ(what: str, found: set[str], wanted: set[str]) -> list[str]:
    surplus, missing = sorted(found - wanted), sorted(wanted - found)
    sentences = [f"{what} too many: {', '.join(surplus)}"] if surplus else []
    return sentences + ([f"{what} missing: {', '.join(missing)}"] if missing else [])


def _docker(*arguments: str) -> list[str]:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def _parents() -> dict[int, int]:
    """Every process with its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            found[int(entry.name)] = int(fields[1])
    return found


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid in parents:
        pid = parents[pid]
        yield pid


def _members(pool_id: str) -> dict[int, str]:
    """Processes in control groups of the pool's machines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                groups = (entry / "cgroup").read_text()
            except OSError:
                continue
            _, mark, rest = groups.partition(f"/vmpool/{pool_id}/")
            if mark:
                found[int(entry.name)] = rest.partition("\n")[0]
    return found
