"""Ports of VMs on this machine.  `_sync/forwarding.py` is the same for threads, by hand as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vmpool.client.forwards import Forward, Problem
from vmpool.client.local import Address


@asynccontextmanager
async def forwarding(
    address: Address, path: str, remote: int, local: int, problem: Problem
) -> AsyncIterator[Forward]:
    """Listen on loopback while the block lasts; see `vmpool.client.tunnel.forwarded`."""
    from vmpool.client.tunnel import forwarded  # few need it

    async with forwarded(address, path, remote, local, problem) as forward:
        yield forward
