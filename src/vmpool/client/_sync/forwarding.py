"""Ports of VMs on this machine, in a thread.  `_async/forwarding.py` is the same for an event loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vmpool.client.forwards import Forward, Problem
from vmpool.client.local import Address


@contextmanager
def forwarding(address: Address, path: str, remote: int, local: int, problem: Problem) -> Iterator[Forward]:
    """Listen on loopback while the block lasts; see `vmpool.client.tunnel.forwarded`."""
    from anyio.from_thread import start_blocking_portal

    from vmpool.client.tunnel import forwarded  # few need it

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(forwarded(address, path, remote, local, problem)) as forward,
    ):
        yield forward
