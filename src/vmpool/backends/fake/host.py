"""The world outside a server process: machines that go on when the server that made them is gone."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Self

import anyio
from anyio.abc import ByteStream, TaskGroup, TaskStatus

from vmpool.agent.messages import GENERATION
from vmpool.backends.base import Machine, MachineKey, MachineSpec, MachineState, StoredSnapshot
from vmpool.backends.fake.agent import FakeAgent
from vmpool.backends.fake.files import Files
from vmpool.backends.fake.wire import pair
from vmpool.errors import AgentUnreachable

ISOLATION = "none"


@dataclass(slots=True)
class FakeMachine:
    """One machine.  `agent` is there while it runs; `half` marks one whose making was cut short."""

    key: MachineKey
    spec: MachineSpec
    files: Files = field(default_factory=Files)
    container_id: str = field(default_factory=lambda: f"fake-{secrets.token_hex(6)}")
    agent: FakeAgent | None = None
    half: bool = False
    paused: bool = False
    agent_generation: int = GENERATION
    _scope: anyio.CancelScope | None = None
    _down: anyio.Event = field(default_factory=anyio.Event)

    def seen(self) -> Machine:
        """As a backend shows it."""
        if self.half:
            state = MachineState.CREATING
        else:
            running = MachineState.PAUSED if self.paused else MachineState.RUNNING
            state = MachineState.STOPPED if self.agent is None else running
        return Machine(
            self.key, state, self.container_id, ISOLATION, warnings=("nothing isolates a fake machine",)
        )

    def become(self, key: MachineKey, spec: MachineSpec) -> None:
        """A spare is claimed."""
        self.key, self.spec = key, spec
        if self.agent is not None:
            self.agent.hostname = spec.hostname

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """From a start to the end of PID 1."""
        try:
            async with anyio.create_task_group() as tasks:
                self._scope, self._down = tasks.cancel_scope, anyio.Event()
                self.agent = FakeAgent(
                    self.files, self.spec.hostname, tasks, tasks.cancel_scope.cancel, self.agent_generation
                )
                task_status.started()
                await anyio.sleep_forever()
        finally:
            if self.agent is not None:
                self.agent.cut()
            self.agent, self.paused = None, False
            self._down.set()

    async def halt(self) -> None:
        """End every process, keep the files."""
        if self.agent is not None and self._scope is not None:
            self._scope.cancel()
            await self._down.wait()

    def dial(self) -> ByteStream:
        """A stream to the agent."""
        ending = self._scope is not None and self._scope.cancel_called
        if self.agent is None or self.half or ending:  # one let in now would never be told to go
            raise AgentUnreachable(f"machine {self.key} is not running")
        ours, theirs = pair()
        self.agent.accept(theirs)
        return ours


class FakeHost:
    """Holds machines and snapshots.  Several backends over one host are several server processes, one after
    another or at once.

    An async context manager; what runs inside ends with it.
    """

    def __init__(self) -> None:
        self.machines: dict[MachineKey, FakeMachine] = {}
        self.snapshots: dict[str, tuple[StoredSnapshot, Files]] = {}
        self.creating: set[MachineKey] = set()
        self.outdated: set[MachineKey] = set()
        self.engine_up = True
        self._locks: dict[MachineKey, anyio.Lock] = {}
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)

    def lock(self, key: MachineKey) -> anyio.Lock:
        """One verb at a time changes a machine."""
        return self._locks.setdefault(key, anyio.Lock())

    async def boot(self, machine: FakeMachine) -> None:
        """Start a machine that is not running."""
        if self._tasks is None:
            raise RuntimeError("enter the FakeHost (or the FakeBackend that made it) first")
        if machine.agent is None:
            await self._tasks.start(machine.run)

    def cut(self, key: MachineKey) -> None:
        """Break every stream to the machine's agent; what runs in it goes on."""
        machine = self.machines[key]
        if machine.agent is not None:
            machine.agent.cut()

    async def kill(self, key: MachineKey) -> None:
        """The machine's PID 1 dies of itself: it is STOPPED, its files are there."""
        await self.machines[key].halt()

    async def vanish(self, key: MachineKey) -> None:
        """The machine is gone, files and all, and nobody was asked."""
        await self.machines.pop(key).halt()

    async def plant(self, key: MachineKey, spec: MachineSpec | None = None, *, half: bool = False) -> None:
        """A running machine (or a half made one) that no row speaks of."""
        machine = FakeMachine(key, spec or MachineSpec(hostname="orphan", template="python"), half=half)
        self.machines[key] = machine
        if not half:
            await self.boot(machine)

    async def reboot(self) -> None:
        """The whole host went down and came up: every machine is STOPPED."""
        for machine in list(self.machines.values()):
            await machine.halt()
