"""The verbs of the backend on one host, synchronously: files, processes, groups and the launcher.

Every function blocks and is called from a thread by `backend.py`, which lets one at a time work on a key.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from vmpool.backends import disks
from vmpool.backends.base import Machine, MachineKey, MachineSpec, MachineState, Usage
from vmpool.backends.bubblewrap import launching, processes
from vmpool.backends.bubblewrap.argv import Launch, plan
from vmpool.backends.bubblewrap.bases import Bases, Look
from vmpool.backends.bubblewrap.cgroups import CgroupTree
from vmpool.backends.bubblewrap.host import Grade, Host
from vmpool.backends.bubblewrap.launching import Launcher
from vmpool.backends.bubblewrap.layout import Layout, Record, VMPaths, read_record, write_record
from vmpool.backends.bubblewrap.processes import ProcessId
from vmpool.backends.bubblewrap.ranges import Ranges
from vmpool.backends.bubblewrap.toolchains import Toolchain, Toolchains
from vmpool.errors import BackendFailed

ISOLATION = "namespaces"
IN_MEMORY = (
    "files are kept in memory, in at most half of the memory limit; they do not outlive a stop, "
    "and no snapshot can be taken"
)


def _own(toolchains: tuple[Toolchain, ...]) -> frozenset[str]:
    """Names of those that belong to the server's user, unless that is root."""
    user = os.geteuid()
    present = ((tool.name, Path(tool.source)) for tool in toolchains)
    return frozenset(
        name for name, source in present if source.exists() and source.stat().st_uid == user != 0
    )


def _group_of(record: Record | None, key: MachineKey) -> str:
    return record.name if record is not None and record.name else str(key)


@dataclass(frozen=True, slots=True)
class Machines:
    """base: digest of what the writable layer of a new VM stands on."""

    layout: Layout
    host: Host
    cgroups: CgroupTree
    toolchains: Toolchains
    system: tuple[str, ...]
    base: str
    bases: Bases
    boot: str
    pool_id: str
    launcher: Launcher
    ranges: Ranges
    look: Look

    def close(self) -> None:
        """End what helps to make machines; the machines go on."""
        self.look.close()
        self.launcher.close()
        self.cgroups.remove_parents()

    @property
    def base_tree(self) -> Path:
        """Directory of the base new VMs stand on; may wait, see `Bases`."""
        return self.bases.current()

    # What is there

    def first_process(self, paths: VMPaths) -> ProcessId | None:
        """The VM's PID 1 if it lives."""
        process = processes.recorded(paths.pidfile(self.boot))
        return process if process is not None and process.alive else None

    def inspect(self, key: MachineKey) -> Machine | None:
        """The machine as the files and processes show it."""
        paths = self.layout.vm(key)
        if not paths.home.exists():
            return None
        record = read_record(paths.record)
        if record is not None and self.first_process(paths) is not None:
            state = MachineState.PAUSED if paths.paused.exists() else MachineState.RUNNING
        elif record is not None and paths.made.exists():
            state = MachineState.STOPPED
        else:
            state = MachineState.CREATING
        return self._machine(key, record, state)

    def _machine(self, key: MachineKey, record: Record | None, state: MachineState) -> Machine:
        return Machine(
            key=key,
            state=state,
            container_id=f"{self.pool_id}-{_group_of(record, key)}",
            isolation=ISOLATION,
            warnings=record.warnings if record is not None else (),
        )

    def keys(self) -> list[MachineKey]:
        """Every key that has a directory."""
        found = []
        for entry in self.layout.vms.iterdir():
            match entry.name.split("-"):
                case ["vm", vm_id, generation] if vm_id.isdecimal() and generation.isdecimal():
                    found.append(MachineKey(int(vm_id), int(generation)))
        return sorted(found)

    def group(self, key: MachineKey) -> str:
        """What its control groups are called."""
        return _group_of(read_record(self.layout.vm(key).record), key)

    def usage(self, key: MachineKey) -> Usage:
        """Live figures, from groups where there are some."""
        paths = self.layout.vm(key)
        process, record = self.first_process(paths), read_record(paths.record)
        if process is None or record is None:
            return Usage()
        if self.cgroups.parents:
            figures = self.cgroups.usage(_group_of(record, key))
        else:
            figures = processes.usage(process)
        if record.image:
            disk = disks.filesystem_use(Path(f"/proc/{process.pid}/root"))
        else:
            disk = disks.tree_use(paths.tree)
        return replace(figures, disk_bytes=disk)

    # Making, starting, ending

    def soft_limits(self) -> dict[str, str]:
        """The limits that are not hard here, each with a sentence that says so."""
        holds, found = self.cgroups.holds, {}
        if "cpu" not in holds:
            found["cpu"] = "CPU is not limited: no control group can be written on this host"
        if "memory" not in holds:
            found["memory"] = (
                "memory is limited per process (RLIMIT_DATA), not for the VM as a whole, and files in memory "
                "(memfd, /tmp) are not counted: no control group can be written on this host"
            )
        elif not self.cgroups.limits_swap:
            found["memory"] = "swap is not limited: a VM may use the host's beyond its memory"
        if not (self.host.images or self.host.in_memory):
            reason = "it takes a server that runs as root, loop devices and mkfs.ext4"
            found["disk"] = f"disk use is counted but not limited: {reason}"
        return found

    def record_for(self, spec: MachineSpec, tree: Path | None = None) -> Record:
        """What a VM of this spec is made as here, with a warning for each limit that is not hard.

        tree: directory of the base it stands on, if not the present one.
        """
        host = self.host
        warnings = list(self.soft_limits().values())
        if host.in_memory:
            warnings.append(IN_MEMORY)
        if host.grade is Grade.USER and os.geteuid() == 0:
            warnings.append("the VM's user is the host's root in a user namespace: no uid range can be used")
        return Record(
            spec=spec,
            grade=host.grade,
            image=host.images,
            in_memory=host.in_memory,
            disk=max(spec.limits.disk, disks.SMALLEST_IMAGE_MB),
            base=self.base,
            tree=(tree or self.base_tree).name,
            toolchains=self.toolchains.prefixes,
            warnings=tuple(warnings),
        )

    def make(self, key: MachineKey, record: Record, snapshot: Path | None = None) -> Machine:
        """Make and start a VM that is not there; on failure nothing of it is left.

        snapshot: a directory with the disk to start from.
        """
        paths = self.layout.vm(key)
        paths.home.mkdir(mode=0o700)
        try:
            record = replace(record, name=str(key), ids=self.ranges.take(key))
            write_record(paths.record, record)
            source = snapshot if snapshot is not None else self.layout.images
            if record.image:
                image = paths.image.name if snapshot is not None else f"{record.disk}.ext4"
                if snapshot is None:
                    disks.empty_image(source, record.disk)
                disks.copy_sparse(source / image, paths.image)
                if paths.image.stat().st_size < record.disk * disks.MB:  # its snapshot's was smaller
                    disks.grow(paths.image, record.disk)
            elif snapshot is not None:
                launching.as_root(self.host.programs, *disks.COPY_TREE, str(source / "disk"), str(paths.tree))
            self._launch(key, record)
            paths.made.touch()
        except BaseException:
            self.destroy(key)
            raise
        return self._machine(key, record, MachineState.RUNNING)

    def start(self, key: MachineKey) -> None:
        """Start a stopped VM on the files it has."""
        paths = self.layout.vm(key)
        record = read_record(paths.record)
        if record is None or not paths.made.exists():
            raise BackendFailed(f"machine {key} was never made; create it")
        self._after_a_crash(paths, record)
        paths.paused.unlink(missing_ok=True)
        now = replace(
            record, tree=self.base_tree.name, ids=self.ranges.take(key), name=_group_of(record, key)
        )
        if now != record:
            write_record(paths.record, now)
        self.launch(key)

    def _after_a_crash(self, paths: VMPaths, record: Record) -> None:
        """A pid of an earlier boot: the host went down while the VM ran."""
        earlier = [file for file in paths.home.glob("pid.*") if file != paths.pidfile(self.boot)]
        if earlier and record.image:
            disks.repair(paths.image)
        for file in earlier:
            file.unlink()

    def launch(self, key: MachineKey, program: tuple[str, ...] | None = None) -> None:
        """Start the processes of a VM that is there.  program: what to run in place of the agent."""
        record = read_record(self.layout.vm(key).record)
        if record is None:
            raise BackendFailed(f"the record of machine {key} is damaged; delete it")
        self._launch(key, record, program)

    def _launch(self, key: MachineKey, record: Record, program: tuple[str, ...] | None = None) -> None:
        paths = self.layout.vm(key)
        base = self.layout.bases / record.tree
        self._prepare(paths, record)
        with launching.held(paths.lock) as lock, launching.listening_socket(paths) as listener:
            launch = Launch(
                paths=paths,
                record=record,
                programs=self.host.programs,
                base=base,
                system=self.system,
                own_toolchains=_own(record.toolchains),
                pidfile=paths.pidfile(self.boot),
                cgroups=self.cgroups.make(_group_of(record, key), record.spec.limits),
                cgroup_limits=self.cgroups.holds,
                ids=self.ranges.take(key),
                hidden=frozenset(top for top in self.system if (base / "hidden" / top).is_dir()),
                shielded=self.host.shielded(),
                program=program,
            )
            self.launcher.launch(plan(launch), (lock, listener.fileno()))

    def _prepare(self, paths: VMPaths, record: Record) -> None:
        paths.stage.mkdir(exist_ok=True)
        (paths.root / "etc").mkdir(parents=True, exist_ok=True)
        self.write_names(paths, record.spec.hostname)
        if not record.image:
            paths.tree.mkdir(exist_ok=True)

    def write_names(self, paths: VMPaths, name: str) -> None:
        """The files that say what the VM is called, in place: a running one has them open as a layer."""
        etc = paths.root / "etc"
        (etc / "hostname").write_text(f"{name}\n", encoding="utf-8")
        (etc / "hosts").write_text(
            f"127.0.0.1\tlocalhost {name}\n::1\tlocalhost ip6-localhost {name}\n", encoding="utf-8"
        )

    def stop(self, key: MachineKey) -> None:
        """End every process; the files stay, and are on the host's disk."""
        self.end(key, keep=True)

    def end(self, key: MachineKey, *, keep: bool = False) -> None:
        """End every process.  Returns once nothing of the VM is mounted or counted.

        keep: its files are wanted later, also after the host has gone down.
        """
        paths = self.layout.vm(key)
        if not paths.home.exists():
            return
        with launching.held(paths.lock):
            process, group = self.first_process(paths), self.group(key)
            self.cgroups.thaw(group)
            if process is not None and not processes.end(process):
                raise BackendFailed(f"machine {key} does not end")
            paths.paused.unlink(missing_ok=True)
            self.cgroups.remove(group)
            disks.wait_until_released(paths.image)
            if keep:
                disks.write_out(paths.image)
            paths.pidfile(self.boot).unlink(missing_ok=True)

    def destroy(self, key: MachineKey) -> None:
        """End it and remove all that belongs to it."""
        self.end(key)
        paths = self.layout.vm(key)
        paths.made.unlink(missing_ok=True)  # what a crash leaves of it is never taken for a stopped VM
        self.remove_tree(paths.home)
        self.ranges.free(key)

    def remove_tree(self, directory: Path) -> None:
        """Remove a directory with whatever modes and owners a VM left in it."""
        if not directory.exists():
            return
        if os.geteuid() == 0:
            shutil.rmtree(directory)
        else:
            launching.as_root(self.host.programs, "rm", "-rf", "--one-file-system", str(directory))
