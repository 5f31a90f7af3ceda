"""What a pool has at one moment, for metrics: read from memory, nothing is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vmpool.pool.context import Context
from vmpool.pool.executions import Executions
from vmpool.pool.networks import Networks
from vmpool.pool.warm_pool.keeper import WarmPool
from vmpool.telemetry.instruments import Family, Sample, counter, gauge, gauges


def pool_families(
    context: Context, executions: Executions, warm_pool: WarmPool, networks: Networks
) -> Iterator[Family]:
    """Of all users together: no user and no VM has a series of its own."""
    vms = context.registry.all()
    standing = Counter((vm.state.value, vm.template, vm.backend, vm.isolation) for vm in vms)
    names = ("state", "template", "backend", "isolation")
    yield gauges(
        "vmpool_vms",
        "VMs that are not deleted.",
        ((dict(zip(names, labels, strict=True)), count) for labels, count in standing.items()),
    )
    yield gauge("vmpool_vms_limit", "Most VMs of all users together.", context.settings.max_total_vms)
    yield gauge(
        "vmpool_vm_memory_limit_bytes", "Memory limits of all VMs.", sum(vm.limits.memory for vm in vms) << 20
    )
    yield gauge("vmpool_executions_in_flight", "Executions that run.", executions.total_in_flight())
    yield gauge("vmpool_agents_connected", "Agents connected at this moment.", context.connections.open())
    yield from _warm_pool(warm_pool)
    yield from networks.families()


def _warm_pool(warm_pool: WarmPool) -> Iterator[Family]:
    figures = warm_pool.figures()
    yield gauge("vmpool_warm_pool_enabled", "1 where VMs are made before anybody asks.", figures.enabled)
    yield gauges(
        "vmpool_warm_pool_ready",
        "VMs that wait to be claimed.",
        (({"template": name}, count) for name, count in figures.ready.items()),
    )
    yield gauges(
        "vmpool_warm_pool_wanted",
        "VMs the plan wants to wait.",
        (({"template": name}, count) for name, count in figures.wanted.items()),
    )
    yield gauge("vmpool_warm_pool_making", "VMs being made to wait.", figures.making)
    claims = [("hit", figures.hits), *((miss.value, count) for miss, count in figures.misses.items())]
    yield Family(
        "vmpool_warm_pool_claims_total",
        "Creates by what the warm pool had: hit, or why not.",
        "counter",
        tuple(Sample("", {"result": result}, count) for result, count in claims),
    )
    if figures.hit_rate is not None:
        yield gauge("vmpool_warm_pool_hit_ratio", "Share of creates it has served.", figures.hit_rate)
    yield counter("vmpool_warm_pool_made_total", "VMs made to wait.", figures.made)
    yield counter("vmpool_warm_pool_dropped_total", "Waiting VMs destroyed unclaimed.", figures.dropped)
    yield counter("vmpool_warm_pool_failed_total", "Tries to make one that failed.", figures.failed)
