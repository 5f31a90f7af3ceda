"""From a destination to a connection: judged as asked for, resolved, judged by address, and dialled there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from vmpool.network.addresses import Address
from vmpool.network.destinations import Destination
from vmpool.network.dialling import Unreachable, dial
from vmpool.network.outcomes import Outcome, gone, refused, unreachable, unresolved
from vmpool.network.policy import Allowed, Policy, Refused
from vmpool.network.relay import Stream
from vmpool.network.resolver import Lane, Resolver, Unresolved

Connect = Callable[[int], Awaitable[Stream]]
"""Connects to a port of one VM; OSError."""


class Peers(Protocol):
    """The other VMs of a VM's group, at the moment they are asked for."""

    def find(self, host: str) -> Connect | None:
        """The VM that this name means; None where the group has none."""

    def owns(self, host: str) -> bool:
        """Whether the name can only be a VM's, and must never be resolved."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A connection, and what it is: address: None for a VM of the group.  rule: what allowed it."""

    stream: Stream
    address: Address | None
    rule: str


async def reach(
    to: Destination, policy: Policy, peers: Peers, resolver: Resolver, lane: Lane, timeout: float
) -> Reached | Outcome:
    """Connect, or say why not.  lane: the VM's own of the resolver.  timeout: seconds for connecting."""
    connect = None if to.address is not None else peers.find(to.host)
    if connect is not None:
        return await _peer(to, policy, connect, timeout)
    if to.address is None and peers.owns(to.host):
        return gone(to)
    denied = policy.before(to)
    if denied is not None:
        return refused(denied)
    try:
        addresses = (to.address,) if to.address is not None else await resolver.resolve(to.host, lane)
    except Unresolved as problem:
        return unresolved(str(problem))
    return await _first(to, policy, addresses, timeout)


async def _first(
    to: Destination, policy: Policy, addresses: tuple[Address, ...], timeout: float
) -> Reached | Outcome:
    """The first that answers of those that may be dialled."""
    judged = {address: policy.at(to, address) for address in addresses}
    rules = {address: one.rule for address, one in judged.items() if isinstance(one, Allowed)}
    if not rules:
        first = judged[addresses[0]]
        assert isinstance(first, Refused)
        return replace(refused(first), address=addresses[0])
    try:
        stream, address = await dial(tuple(rules), to.port, timeout)
    except Unreachable as problem:
        return replace(unreachable(to, problem.number), address=next(iter(rules)))
    return Reached(stream, address, rules[address])


async def _peer(to: Destination, policy: Policy, connect: Connect, timeout: float) -> Reached | Outcome:
    judged = policy.peer(to)
    if isinstance(judged, Refused):
        return refused(judged)
    try:
        with anyio.fail_after(timeout):
            return Reached(await connect(to.port), None, judged.rule)
    except OSError as problem:  # a TimeoutError too
        return unreachable(to, problem.errno or 0)
