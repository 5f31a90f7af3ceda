"""Copies of a VM: its files as they are now, in as many new VMs as are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice

import anyio

from vmpool.domain import VM
from vmpool.domain.template import Origin
from vmpool.errors import InvalidRequest, VMPoolError
from vmpool.pool.context import Context
from vmpool.pool.lifecycle import Lifecycle
from vmpool.pool.requests import VMRequest, check_name
from vmpool.pool.snapshots import Snapshots

MOST = 100
"""VMs made by one request; a user's own limit is usually below."""
LONGEST_NAME = 63


class Forks:
    """Makes them all or none: who asked for ten has nothing to look for among seven."""

    def __init__(self, context: Context, lifecycle: Lifecycle, snapshots: Snapshots) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._snapshots = snapshots

    async def make(self, vm: VM, number: int, names: Sequence[str] | None) -> list[VM]:
        """So many running copies, with the VM's limits, network, variables and times; what runs in it is not
        copied, and goes on.

        names: theirs; None: the VM's own with the next free numbers.  Raises what taking a snapshot and
        making a VM raise; then none is left.
        """
        names = self._names(vm, number, names)
        snapshot = await self._snapshots.take(vm, None, sealed=False)
        origin = Origin(vm.template_id, vm.made_from, forked_from=vm.id)
        made: dict[int, VM] = {}
        failures: list[VMPoolError] = []

        async def one(place: int, name: str) -> None:
            try:
                made[place] = await self._lifecycle.create(vm.user_id, like(vm, name), snapshot, origin)
            except VMPoolError as error:
                failures.append(error)

        try:
            async with anyio.create_task_group() as tasks:
                for place, name in enumerate(names):
                    tasks.start_soon(one, place, name)
            if failures:
                raise failures[0]
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._unmake(made.values())
            raise
        finally:
            with anyio.move_on_after(self._context.settings.cleanup_timeout, shield=True):
                await self._snapshots.give_up(snapshot)
        return [made[place] for place in range(len(names))]

    def _names(self, vm: VM, number: int, names: Sequence[str] | None) -> Sequence[str]:
        if not 1 <= number <= MOST:
            raise InvalidRequest("count", f"{number} must be at least 1 and at most {MOST}")
        if names is None:
            taken = {other.name for other in self._context.registry.of_user(vm.user_id)}
            return list(islice(free_names(vm.name, taken), number))
        for name in names:
            check_name(name)
        if len(set(names)) != len(names) or len(names) != number:
            raise InvalidRequest("names", f"must be {number} different names")
        return names

    async def _unmake(self, made: Iterable[VM]) -> None:
        for vm in made:
            try:
                await self._lifecycle.delete(vm)
            except VMPoolError:
                self._context.suspect()  # its row says DELETING


def like(vm: VM, name: str) -> VMRequest:
    """A VM that is as this one, but for its name.  Pure."""
    return VMRequest(
        name=name,
        language=vm.language,
        template=vm.template,
        limits=vm.limits,
        env=vm.env,
        network=vm.network,
        network_policy=vm.network_policy,
        ttl=vm.ttl,
        idle_timeout=vm.idle_timeout,
        idle_pause=vm.idle_pause,
        labels=vm.labels,
        isolation=vm.isolation,
        strict_limits=False,  # what holds the VM's limits holds theirs
    )


def free_names(name: str, taken: set[str]) -> Iterator[str]:
    """`<name>-1` and so on, those that are not taken.  Pure."""
    for number in count(1):
        ending = f"-{number}"
        candidate = name[: LONGEST_NAME - len(ending)].rstrip("-") + ending
        if candidate not in taken:
            yield candidate
