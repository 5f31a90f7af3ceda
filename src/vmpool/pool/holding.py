"""A machine held where it is, with its connection: what `pausing` and the lifecycle both do."""

from __future__ import annotations

from vmpool.backends.base import SupportsPause
from vmpool.domain import VM
from vmpool.errors import Unsupported
from vmpool.pool.context import Context, key_of


def power(context: Context) -> SupportsPause:
    """The backend, as one that can hold machines; Unsupported where it cannot here."""
    backend, info = context.backend, context.info
    if not isinstance(backend, SupportsPause) or "pause" not in info.capabilities:
        raise Unsupported("pause", info.name, "stop the VM instead: its files stay")
    return backend


async def hold(context: Context, vm: VM) -> None:
    """Hold every process.  The agent's silence is no fault from now on."""
    context.connections.hold(key_of(vm))
    await power(context).pause(key_of(vm))


async def let_go(context: Context, vm: VM) -> None:
    """Let them go on; right for a machine that is not held."""
    await power(context).resume(key_of(vm))
    context.connections.release(key_of(vm))
