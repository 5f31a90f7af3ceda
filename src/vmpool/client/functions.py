"""The shortest way: functions that find the server, do one thing and return its result.

Each opens a connection of its own; many calls in a row are faster through one `AsyncClient`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Unpack

from vmpool.client._async.client import AsyncClient
from vmpool.client.batch import Arrival
from vmpool.client.models import VM, BatchError, Execution, PoolStatus, Snapshot
from vmpool.client.options import RunOptions, VMOptions


async def create_vm(name: str, language: str | None = None, **options: Unpack[VMOptions]) -> VM:
    """Make a VM and wait until it runs.  language: default: that of the `template`."""
    async with AsyncClient() as client:
        return await client.create_vm(name, language, **options)


async def execute_in_vm(
    vm_id: int | str, code: str | None = None, **options: Unpack[RunOptions]
) -> Execution:
    """Run `code` (or `command=`) in a running VM and wait for its result."""
    async with AsyncClient() as client:
        return await client.execute(vm_id, code, **options)


async def batch_execute(
    code: str | None = None,
    vm_ids: Iterable[int | str] | None = None,
    **options: Unpack[RunOptions],
) -> list[Execution | BatchError]:
    """Run `code` in all of `vm_ids` at once; default: in all your running VMs."""
    async with AsyncClient() as client:
        return await client.batch_execute(code, vm_ids, **options)


async def batch_stream(
    code: str | None = None,
    vm_ids: Iterable[int | str] | None = None,
    **options: Unpack[RunOptions],
) -> AsyncGenerator[Arrival, None]:
    """Run `code` in all of `vm_ids` at once: each result when it is there, with its place in `vm_ids`."""
    async with AsyncClient() as client, aclosing(client.batch_stream(code, vm_ids, **options)) as arrivals:
        async for arrival in arrivals:
            yield arrival


async def list_vms() -> list[VM]:
    """All your VMs, newest first."""
    async with AsyncClient() as client:
        return [*await client.list_vms()]


async def get_vm(vm_id: int | str) -> VM:
    """One VM."""
    async with AsyncClient() as client:
        return await client.get_vm(vm_id)


async def start_vm(vm_id: int | str) -> VM:
    """Start a stopped VM with the files it had."""
    async with AsyncClient() as client:
        return await client.start_vm(vm_id)


async def stop_vm(vm_id: int | str) -> VM:
    """End a VM's processes and keep its files."""
    async with AsyncClient() as client:
        return await client.stop_vm(vm_id)


async def restart_vm(vm_id: int | str) -> VM:
    """Stop a VM and start it."""
    async with AsyncClient() as client:
        return await client.restart_vm(vm_id)


async def delete_vm(vm_id: int | str) -> None:
    """Destroy a VM with its files."""
    async with AsyncClient() as client:
        await client.delete_vm(vm_id)


async def snapshot_vm(vm_id: int | str, name: str | None = None) -> Snapshot:
    """Keep a VM's files as they are now."""
    async with AsyncClient() as client:
        return await client.snapshot(vm_id, name)


async def restore_vm(vm_id: int | str, snapshot_id: int) -> VM:
    """Put a VM's files back to what a snapshot kept."""
    async with AsyncClient() as client:
        return await client.restore(vm_id, snapshot_id)


async def pool_status() -> PoolStatus:
    """Limits, use, backend and host."""
    async with AsyncClient() as client:
        return await client.pool_status()
