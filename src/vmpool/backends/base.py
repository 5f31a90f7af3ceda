"""The interface every backend implements: it makes, finds and destroys machines, and dials their agent.

A backend knows nothing of executions, files or terminals (those are the agent's), of users or quotas
(the pool's), or of rows (the store's).  All verbs are keyed and idempotent.  A `Backend` is an async
context manager: entering connects to the engine or prepares the state directory, leaving closes what was
opened and *leaves every machine running*.

What a verb answers in each condition is part of its contract:

=============  ===================  ================  ==============  ================  =====================
condition      create               inspect           start / stop    destroy           dial
=============  ===================  ================  ==============  ================  =====================
never created  makes and starts it  None              BackendFailed   returns           AgentUnreachable
being created  waits, then the one  CREATING          waits           waits, removes    AgentUnreachable
running        returns it           RUNNING           no-op / stops   ends and removes  a stream
paused         returns it           PAUSED            no-op / stops   ends and removes  a silent stream
stopped        starts it            STOPPED           starts / no-op  removes           AgentUnreachable
half made      finishes or remakes  CREATING or None  BackendFailed   removes the rest  AgentUnreachable
made earlier   as for its state     as for its state  likewise        likewise          likewise
no engine      BackendUnreachable   BackendUnreach.   BackendUnreach. BackendUnreach.   BackendUnreachable
=============  ===================  ================  ==============  ================  =====================

"Made earlier" is a machine made by an earlier server process: it must be found, dialled, stopped and
destroyed exactly like one's own.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, Self, runtime_checkable

from anyio.abc import ByteStream

from vmpool.domain import Limits
from vmpool.errors import InvalidRequest
from vmpool.snapshot_file import Layer


@dataclass(frozen=True, slots=True, order=True)
class MachineKey:
    """Names a machine: the VM's id and a generation, so that a replacement can stand beside it.

    A spare, made before anybody asked for it, has an id no row has.
    """

    vm_id: int
    generation: int = 1

    def __str__(self) -> str:
        return f"vm-{self.vm_id}-{self.generation}"

    @classmethod
    def parse(cls, text: str) -> MachineKey:
        """The inverse of `str`; InvalidRequest for anything else."""
        match text.split("-"):
            case ["vm", vm_id, generation] if vm_id.isdecimal() and generation.isdecimal():
                return cls(int(vm_id), int(generation))
        raise InvalidRequest("key", f"'{text}' is not a machine key")

    @classmethod
    def spare(cls, number: int) -> MachineKey:
        """The key of a spare; `number` must never have been used in this pool."""
        return cls(_NO_VM, number)

    @property
    def is_spare(self) -> bool:
        """Whether it names a machine that is nobody's yet."""
        return self.vm_id == _NO_VM


_NO_VM = 0
"""Rows count from 1."""


class MachineState(StrEnum):
    """What the backend sees.  A machine whose agent died is STOPPED: its files are still there.

    PAUSED is one that runs and is held, by `SupportsPause` or by a snapshot whose server ended meanwhile.
    """

    CREATING = "creating"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """What to make.

    hostname: the VM's name.  template: a template's name, which the backend maps to an image or a set of
    toolchains.  env: variables every execution starts with.  network: "none" or "full".  labels: the
    caller's own, kept with the machine where the engine can.  snapshot: a reference from
    `SupportsSnapshot.snapshot`, to start from its files.  isolation: one the backend offers; "" for its own.
    """

    hostname: str
    template: str
    limits: Limits = field(default_factory=Limits)
    env: Mapping[str, str] = field(default_factory=dict)
    network: str = "none"
    labels: Mapping[str, str] = field(default_factory=dict)
    snapshot: str | None = None
    isolation: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the backend finds it.  `warnings`: one sentence for each limit that is not hard here."""

    key: MachineKey
    state: MachineState
    container_id: str
    isolation: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Live figures of one machine; None where the host has no way to know.

    cpu_seconds: used since start.  memory_bytes, memory_peak_bytes, disk_bytes: bytes.  oom_kills:
    how often the kernel killed a process of this machine for memory, since start.
    """

    cpu_seconds: float | None = None
    memory_bytes: int | None = None
    memory_peak_bytes: int | None = None
    processes: int | None = None
    disk_bytes: int | None = None
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What the API publishes of a backend.

    isolation: "namespaces", "container", "gvisor" or "microvm".  grade: the backend's own word for how
    much this host lets it do.  templates: those that can be created now.  enforcement: for "cpu",
    "memory", "disk", "processes" and "network", what holds the limit here ("cgroup v2", "tmpfs size",
    "RLIMIT_DATA per process", "nothing").  isolations: all that can be asked for here; at least its own.
    capabilities: what of the optional it can do here: "snapshot", "spares", "resize", "pause", and
    "network:full": VMs in isolation "container" may be on a network of its own.
    bases: by template, what names its present content, so that what was made from it is known to be old.
    soft_limits: by isolation, which of "cpu", "memory", "disk" and "processes" are not hard here.
    """

    name: str
    version: str
    isolation: str
    grade: str
    templates: tuple[str, ...]
    enforcement: Mapping[str, str]
    capabilities: tuple[str, ...]
    isolations: tuple[str, ...] = ()
    soft_limits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot as the backend keeps it: its own reference, what it stands on, its size in bytes."""

    reference: str
    base: str
    size: int


class Backend(abc.ABC):
    """Where machines come from.  The module's table gives each verb's answer in each condition."""

    name: str

    async def __aenter__(self) -> Self:
        """Connect or prepare; BackendUnreachable with a remedy where the host cannot."""
        return self

    async def __aexit__(self, *exc_info: object) -> None:  # noqa: B027 - closing nothing is a right default
        """Close what was opened; machines go on running."""

    @abc.abstractmethod
    async def describe(self) -> BackendInfo:
        """What this backend is and holds on this host."""

    @abc.abstractmethod
    async def create(self, key: MachineKey, spec: MachineSpec) -> Machine:
        """Make and start the machine; returns once `dial` would succeed.

        Called twice with one key, at once or later, it yields one machine.  On failure or cancellation
        nothing is left behind.  Raises TemplateNotFound, SnapshotNotFound, SnapshotMismatch,
        BackendFailed, BackendUnreachable.
        """

    @abc.abstractmethod
    async def inspect(self, key: MachineKey) -> Machine | None:
        """The machine as it is now, or None; never raises for one that is not there."""

    @abc.abstractmethod
    async def list(self) -> list[Machine]:
        """Every machine that carries this pool's label, also those nobody remembers."""

    @abc.abstractmethod
    async def start(self, key: MachineKey) -> Machine:
        """Start a stopped machine with its files as they were."""

    @abc.abstractmethod
    async def stop(self, key: MachineKey) -> None:
        """End every process of the machine now, keep its files.

        The pool has asked the agent to shut down first where it could; this verb must not wait for it.
        """

    @abc.abstractmethod
    async def destroy(self, key: MachineKey) -> None:
        """End and remove the machine and all that belongs to it; an absent one is a success."""

    @abc.abstractmethod
    async def dial(self, key: MachineKey) -> ByteStream:
        """A fresh byte stream to the agent of a running machine; the caller closes it."""

    @abc.abstractmethod
    async def usage(self, key: MachineKey) -> Usage:
        """Live figures; an empty Usage for a machine that is not running, never an error for it."""


@runtime_checkable
class SupportsSnapshot(Protocol):
    """Keeps and returns to states of a machine's files."""

    async def snapshot(self, key: MachineKey, reference: str) -> StoredSnapshot:
        """Keep the files of a running or stopped machine under `reference`, consistently.

        Idempotent by reference; nothing is left behind on failure.  Restoring is `create` with
        `MachineSpec.snapshot` under a new generation.
        """

    async def delete_snapshot(self, reference: str) -> None:
        """Remove it; an absent one is a success."""

    async def list_snapshots(self) -> list[StoredSnapshot]:
        """Every snapshot of this pool, also those nobody remembers."""


@dataclass(frozen=True, slots=True)
class SnapshotContent:
    """A snapshot on its way out.

    template, base: what it was taken of, and stands on.  disk: MB of the VM's disk.  layers: bytes of each,
    the lowest first.  pieces: a Layer before each layer's content, in any order of layers.
    """

    template: str
    base: str
    disk: int
    layers: tuple[int, ...]
    pieces: AsyncIterator[Layer | bytes]


@runtime_checkable
class SupportsSnapshotFiles(SupportsSnapshot, Protocol):
    """Keeps snapshots that can be proved whole, taken elsewhere and brought in."""

    async def seal_snapshot(self, reference: str) -> str:
        """What `verify_snapshot` is to compare the snapshot's files with later; SnapshotNotFound."""

    async def verify_snapshot(self, reference: str, seal: str) -> None:
        """SnapshotDamaged unless every file is what it was when the snapshot was sealed."""

    def export_snapshot(self, reference: str) -> AbstractAsyncContextManager[SnapshotContent]:
        """Its files, for as long as the block lasts.

        SnapshotNotFound, SnapshotDamaged, SnapshotTooLarge where holes in files would be too many zeros.
        """

    async def import_snapshot(
        self, reference: str, spec: MachineSpec, base: str, pieces: AsyncIterator[Layer | bytes]
    ) -> StoredSnapshot:
        """Keep what comes as a snapshot, from which `create` can make a machine of `spec`.

        base: what it says it stands on; SnapshotMismatch where a machine made now would stand on another.
        pieces: as of `SnapshotContent`; an error that comes out of it is let out.  What may not be in a VM is
        SnapshotFileRefused, more than the machine's disk SnapshotTooLarge; then nothing is left.
        """


@runtime_checkable
class SupportsResize(Protocol):
    """Can change the limits of a machine that is there.

    A backend that can do this on this host says "resize" among its capabilities.
    """

    async def resize(self, key: MachineKey, spec: MachineSpec) -> Machine:
        """Give a running or stopped machine the limits of `spec`, and nothing else of it.

        They hold when this returns and after every later start.  Idempotent.  Unsupported, with a remedy and
        before anything is changed, for a limit that cannot become what is asked for here, or not while the
        machine runs.  BackendFailed where the kernel refused (less memory than is in use): what was
        changed by then is undone by asking for the former limits.
        """


@runtime_checkable
class SupportsPause(Protocol):
    """Can hold every process of a machine, with its memory, and let them go on.

    A backend that can do this on this host says "pause" among its capabilities.  A held machine can be
    stopped, destroyed, measured and kept as a snapshot, which leaves it held; its agent does not answer.
    """

    async def pause(self, key: MachineKey) -> None:
        """Hold a running machine; one that is held stays so.  BackendFailed where it does not run."""

    async def resume(self, key: MachineKey) -> None:
        """Let it go on; one that is not held is right.  BackendFailed where it is not there."""


@runtime_checkable
class SupportsSpares(Protocol):
    """Can hand on a machine that was made before anybody asked for it.

    A spare is made by `create` under `MachineKey.spare(n)`; until it is claimed every verb works on it as
    on any machine.  A backend that can do this on this host says "spares" among its capabilities.
    """

    def can_claim(self, made: MachineSpec, asked: MachineSpec) -> bool:
        """Whether a spare made to the first can become the second.  Pure."""

    async def claim(self, spare: MachineKey, key: MachineKey, spec: MachineSpec) -> Machine:
        """Make the running spare the machine of `key`: hostname and limits hold when this returns.

        From then on every verb finds it under `key` and none under `spare`.  BackendFailed where it does
        not run or cannot be changed: then it is neither the one nor the other, and must be destroyed.
        """

    async def settle(self, container_id: str, key: MachineKey, spec: MachineSpec) -> None:
        """Bring the host's own records in line with a claim, and set again what a start resets.

        Idempotent, also for a machine that was never a spare or is no more.  Until it has been done, an
        earlier server's claim shows as a spare with the container's id that is in the VM's row.
        """

    async def outdated_spares(self) -> list[MachineKey]:
        """Spares made from a template that has been replaced since."""
