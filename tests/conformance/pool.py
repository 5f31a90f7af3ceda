"""A whole pool over a backend under test, as the tests of several files use it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio

from tests.conformance.backends import World
from vmpool.domain import VM, Execution, ExecutionRequest
from vmpool.pool.requests import VMRequest
from vmpool.pool.settings import PoolSettings
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.warm_pool.bounds import Bounds
from vmpool.store import open_store

Serve = Callable[[], AbstractAsyncContextManager[VMPoolManager]]
USER = 1
SETTINGS = PoolSettings(host_memory=64_000, warm_pool=Bounds(maximum=0), stop_grace=1.0, expire_every=0.2)


def serving(world: World, directory: Path) -> Serve:
    """A server of the one pool there is, anew each time."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[VMPoolManager]:
        async with (
            open_store(f"sqlite:///{directory / 'vmpool.db'}") as store,
            world.backend() as backend,
            VMPoolManager(store, backend, SETTINGS, state_dir=directory) as pool,
        ):
            await store.users.ensure("ada", admin=False)
            yield pool

    return opened


async def make(pool: VMPoolManager) -> VM:
    """A VM called box."""
    return await pool.create_vm(USER, VMRequest("box", "python"))


async def start(pool: VMPoolManager, command: str, **more: object) -> Execution:
    """Begin a command in it, in the background."""
    fields: dict[str, object] = {"command": command, "background": True, "timeout": math.inf, **more}
    return await pool.start_execution(USER, "box", ExecutionRequest(**fields))  # type: ignore[arg-type]


async def run(pool: VMPoolManager, command: str) -> str:
    """What a command in it writes."""
    result = await pool.execute(USER, "box", ExecutionRequest(command=command, timeout=30))
    assert result.outcome is not None and result.outcome.exit_code == 0, result
    return result.outcome.output


async def written(pool: VMPoolManager, execution: Execution, text: str) -> None:
    """Until it has written this."""

    async def there() -> bool:
        found = await pool.output(USER, "box", execution.id, "stdout")
        try:
            return text in b"".join([piece async for piece in found.read(0, found.size)]).decode()
        finally:
            found.close()

    await eventually(there)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Until it holds, as a user of the pool would look."""
    with anyio.fail_after(30):
        while not await holds():  # noqa: ASYNC110 - looks from outside, as a user of the pool would
            await anyio.sleep(0.02)


async def ended(pool: VMPoolManager, execution: Execution) -> Execution:
    """The execution once it has ended."""
    with anyio.fail_after(30):
        await pool.controls.until_ended(execution.vm_id, execution.id)
    return await pool.get_execution(USER, "box", execution.id)
