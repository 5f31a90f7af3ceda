"""What the parts of one pool share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import anyio
from anyio.abc import TaskGroup

from vmpool.backends.base import Backend, BackendInfo, MachineKey
from vmpool.domain import VM
from vmpool.pool.connections import Connections
from vmpool.pool.events import Journal
from vmpool.pool.feed import Feed
from vmpool.pool.host import Host
from vmpool.pool.locks import KeyedLocks
from vmpool.pool.outputs import Outputs
from vmpool.pool.registry import Registry
from vmpool.pool.secrets import Secrets
from vmpool.pool.settings import PoolSettings
from vmpool.store import Store
from vmpool.telemetry import Telemetry


@dataclass(slots=True)
class Context:
    """One running pool.  tasks: owns every loop and every detached execution.  closing: the server ends."""

    store: Store
    backend: Backend
    info: BackendInfo
    settings: PoolSettings
    clock: Callable[[], datetime]
    host: Host
    registry: Registry
    connections: Connections
    outputs: Outputs
    tasks: TaskGroup
    journal: Journal
    secrets: Secrets
    locks: KeyedLocks = field(default_factory=KeyedLocks)
    feed: Feed = field(default_factory=Feed)
    telemetry: Telemetry = field(default_factory=Telemetry)
    hint: anyio.Event = field(default_factory=anyio.Event)
    closing: bool = False

    def suspect(self) -> None:
        """Something does not agree with its row: let the reconciler look now."""
        self.hint.set()


def key_of(vm: VM) -> MachineKey:
    """The name of the machine a VM has now."""
    return MachineKey(vm.id, vm.generation)
