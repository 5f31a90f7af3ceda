"""A host, a database and the servers on them, one after another."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

import anyio

from vmpool.backends.base import MachineKey
from vmpool.backends.fake import FakeBackend, FakeHost, Fault, ForgetOnRestart
from vmpool.domain import VM, ExecutionRequest, VMState
from vmpool.pool.requests import VMRequest
from vmpool.pool.settings import PoolSettings
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.warm_pool.bounds import Bounds
from vmpool.store import Store, utcnow

T = TypeVar("T")

QUICK = PoolSettings(
    host_memory=100_000,
    max_cpu=4,
    reconcile_every=0.05,
    expire_every=0.05,
    stop_grace=0.2,
    cleanup_timeout=2.0,
    agent_patience=0.3,
    warm_pool=Bounds(maximum=0),
)
"""Settings under which a test does not wait."""


@dataclass
class World:
    """ada, bob: ids of two users.  clock: what every server goes by.  backend: the last server's."""

    host: FakeHost
    store: Store
    state_dir: Path
    ada: int
    bob: int
    clock: Callable[[], datetime] = utcnow
    backend: FakeBackend = field(init=False)

    @asynccontextmanager
    async def server(
        self, settings: PoolSettings = QUICK, *, forgets: bool = False, **faults: Fault
    ) -> AsyncIterator[VMPoolManager]:
        """A server process; faults are named after the backend's verbs.  forgets: its machines are gone."""
        forgetful = [ForgetOnRestart()] if forgets else []
        async with (
            FakeBackend(*forgetful, host=self.host, **faults) as self.backend,
            VMPoolManager(
                self.store, self.backend, settings, state_dir=self.state_dir, clock=self.clock
            ) as manager,
        ):
            yield manager

    async def until_output(self, pool: VMPoolManager, vm_id: int, text: str) -> None:
        """Until what runs in the VM has written this."""
        written = ""
        async with aclosing(await pool.follow(self.ada, vm_id)) as entries:
            async for entry in entries:
                written += entry.data
                if text in written:
                    return

    async def until_state(self, pool: VMPoolManager, vm_id: int, state: VMState) -> VM:
        """Until the VM is in this state."""

        async def reached() -> bool:
            return (await pool.get_vm(self.ada, vm_id)).state is state

        await eventually(reached)
        return await pool.get_vm(self.ada, vm_id)

    async def nothing_runs(self) -> bool:
        """Whether every execution is settled."""
        return not await self.store.executions.running()

    async def spool_is_empty(self) -> bool:
        """Whether no output lies on disk."""
        return not os.listdir(self.state_dir / "spool")  # noqa: PTH208

    async def host_is_empty(self) -> bool:
        """Whether no machine is there."""
        return not self.host.machines

    @property
    def keys(self) -> set[MachineKey]:
        """The machines that are there."""
        return set(self.host.machines)


def vm_request(name: str = "test-vm", **more: object) -> VMRequest:
    fields: dict[str, object] = {"name": name, "language": "python", **more}
    return VMRequest(**fields)  # type: ignore[arg-type]


def code(text: str, **more: object) -> ExecutionRequest:
    return ExecutionRequest(code=text, **more)  # type: ignore[arg-type]


def command(text: str, **more: object) -> ExecutionRequest:
    return ExecutionRequest(command=text, **more)  # type: ignore[arg-type]


class Pending(Generic[T]):
    """Something under way; `value` is there once the block has ended."""

    value: T

    async def run(self, work: Awaitable[T]) -> None:
        self.value = await work


@asynccontextmanager
async def pending(work: Awaitable[T]) -> AsyncIterator[Pending[T]]:
    """Do it beside the block; the block ends when both have."""
    one: Pending[T] = Pending()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.run, work)
        yield one


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 5) -> None:
    """Wait until it holds; TimeoutError otherwise."""
    with anyio.fail_after(seconds):
        while not await holds():  # noqa: ASYNC110 - looks from outside, as a user of the pool would
            await anyio.sleep(0.005)
