"""How many spares of each template there should be, and what is to be done about it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmpool.domain import Census
from vmpool.pool.warm_pool.bounds import INTERPRETER_MB, SPARE_MB, Bounds


@dataclass(frozen=True, slots=True)
class Plan:
    """Templates of the spares to make and to drop, one entry for each spare."""

    make: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


def room(now: Census, bounds: Bounds, max_vms: int, memory_capacity: int) -> int:
    """How many spares the host and the pool's rules have room for beside the VMs there are.

    A spare counts as a VM, with the memory limit it is made with, so that no rule is broken however many
    are claimed; what it costs the host while it waits must fit the budget.  max_vms: of all users together.
    memory_capacity: MB all limits may sum up to.
    """
    cost = SPARE_MB + (INTERPRETER_MB if bounds.interpreters else 0)
    return max(
        0,
        min(
            max_vms - now.vms,
            (memory_capacity - now.memory) // bounds.limits.memory,
            bounds.memory // cost,
        ),
    )


def targets(demand: Mapping[str, int], bounds: Bounds, room: int) -> dict[str, int]:
    """How many spares of each template there should be, `room` in all at most.

    Where they do not all fit, minimums come before demand, and then whoever lacks most.
    """
    least = {name: min(count, bounds.maximum) for name, count in bounds.minimum.items()}
    wanted = {
        name: max(least.get(name, 0), min(demand.get(name, 0), bounds.maximum)) for name in {*least, *demand}
    }
    given = dict.fromkeys(sorted(wanted), 0)
    for goal in (least, wanted):
        while sum(given.values()) < room:
            lacking = {name: goal.get(name, 0) - count for name, count in given.items()}
            name = max(lacking, key=lacking.__getitem__, default=None)
            if name is None or lacking[name] <= 0:
                break
            given[name] += 1
    return {name: count for name, count in given.items() if count}


def plan(targets: Mapping[str, int], ready: Mapping[str, int], making: Mapping[str, int], room: int) -> Plan:
    """What to do so that `targets` are met, counting what is being made.

    ready, making: spares by template.  Room that spares to be dropped still take is not given away.
    """
    have = {name: ready.get(name, 0) + making.get(name, 0) for name in {*ready, *making, *targets}}
    drop: list[str] = []
    for name in sorted(have):
        surplus = have[name] - targets.get(name, 0)
        drop += [name] * min(max(surplus, 0), ready.get(name, 0))
    free = room - sum(have.values())
    make: list[str] = []
    while len(make) < free:
        lacking = {name: count - have[name] for name, count in sorted(targets.items())}
        name = max(lacking, key=lacking.__getitem__, default="")
        if not name or lacking[name] <= 0:
            break
        make.append(name)
        have[name] += 1
    return Plan(tuple(make), tuple(drop))
