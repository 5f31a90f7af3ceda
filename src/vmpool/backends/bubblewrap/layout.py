"""Where things lie in the state directory, and the record kept of each VM.

::

    state_dir/
      base/<name>/root/          what every VM's root stands on (see skeleton.py)
      base/hidden.json           what no VM may see, as found last (see bases.py)
      images/<MB>.ext4           an empty formatted disk, copied for each VM of that size
      snapshots/<reference>/     record.json, and the disk's file or tree; seals.py, what it is compared with
      vms/<key>/
        record.json              the intent, written before anything else
        made                     the first launch succeeded
        lock                     held by whoever changes the VM, the launcher included
        pid.<boot>               "PID START" of the VM's first process, written by the launcher
        agent.sock               the agent's listening socket, bound by the server that launched
        root/                    the VM's own part of the read-only base (hostname, hosts)
        stage/                   mount point; empty as the host sees it
        disk.ext4 or disk/       what the VM has written
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.bubblewrap.toolchains import Toolchain
from vmpool.domain import Limits


@dataclass(frozen=True, slots=True)
class VMPaths:
    """The files of one VM."""

    home: Path

    @property
    def record(self) -> Path:
        return self.home / "record.json"

    @property
    def made(self) -> Path:
        return self.home / "made"

    @property
    def paused(self) -> Path:
        """There while the VM's processes are to be held."""
        return self.home / "paused"

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    @property
    def stage(self) -> Path:
        return self.home / "stage"

    @property
    def root(self) -> Path:
        return self.home / "root"

    @property
    def image(self) -> Path:
        return self.home / "disk.ext4"

    @property
    def tree(self) -> Path:
        return self.home / "disk"

    def pidfile(self, boot: str) -> Path:
        return self.home / f"pid.{boot}"


SOCKET_NAME = "agent.sock"


@dataclass(frozen=True, slots=True)
class Layout:
    """The backend's directory."""

    home: Path

    @property
    def bases(self) -> Path:
        return self.home / "base"

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def snapshots(self) -> Path:
        return self.home / "snapshots"

    @property
    def vms(self) -> Path:
        return self.home / "vms"

    def vm(self, key: MachineKey) -> VMPaths:
        return VMPaths(self.vms / str(key))

    def make(self) -> None:
        """Readable by the server's user only: a VM never reaches its files by name."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.chmod(0o700)
        for directory in (self.bases, self.images, self.snapshots, self.vms):
            directory.mkdir(exist_ok=True)


PLAIN = ("grade", "image", "in_memory", "disk", "base", "tree", "warnings", "ids", "name")
"""Fields of a record that are JSON as they are."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a VM was made as, enough to start it again.

    base: digest of what its writable layer stands on.  tree: name of the base it was last started with.
    image: the disk is a file system of its own.  disk: its size in MB.  ids: first id of its range.
    in_memory: the disk is a tmpfs, empty at every start.
    name: the key it was made under, which names its control groups; it may have become another's since.
    """

    spec: MachineSpec
    grade: str
    image: bool
    disk: int
    base: str
    tree: str
    toolchains: tuple[Toolchain, ...]
    warnings: tuple[str, ...] = field(default=())
    ids: int = 0
    in_memory: bool = False
    name: str = ""

    def dump(self) -> str:
        """As JSON text."""
        plain = {name: getattr(self, name) for name in PLAIN}
        spec = {
            "hostname": self.spec.hostname,
            "template": self.spec.template,
            "limits": asdict(self.spec.limits),
            "env": dict(self.spec.env),
            "network": self.spec.network,
            "labels": dict(self.spec.labels),
            "snapshot": self.spec.snapshot,
        }
        return json.dumps({**plain, "toolchains": [asdict(t) for t in self.toolchains], "spec": spec})

    @classmethod
    def load(cls, text: str) -> Record:
        """The inverse of `dump`; ValueError, KeyError or TypeError for anything else."""
        data: dict[str, Any] = dict(json.loads(text))
        spec = dict(data.pop("spec"))
        spec["limits"] = Limits(**spec["limits"])
        toolchains = tuple(Toolchain(**entry) for entry in data.pop("toolchains"))
        warnings = tuple(data.pop("warnings"))
        return cls(spec=MachineSpec(**spec), toolchains=toolchains, warnings=warnings, **data)


def read_record(path: Path) -> Record | None:
    """The record, or None where there is none or a crash left half of one."""
    try:
        return Record.load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_record(path: Path, record: Record) -> None:
    """Atomically: a reader sees the old one, the new one or none."""
    beside = path.with_suffix(".new")
    beside.write_text(record.dump(), encoding="utf-8")
    beside.rename(path)
