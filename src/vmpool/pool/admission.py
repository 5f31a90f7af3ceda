"""Whether one more VM may be made, or one have more: the user's quota first, then the pool's rules.  Pure."""

from __future__ import annotations

from vmpool.domain import Census, Limits
from vmpool.errors import PoolFull, QuotaExceeded
from vmpool.pool.settings import PoolSettings


def memory_capacity(settings: PoolSettings, host_memory: int) -> int:
    """MB that all VMs' memory limits may sum up to on a host of `host_memory` MB."""
    return int(settings.memory_overcommit * host_memory)


def admit(now: Census, asked: Limits, settings: PoolSettings, host_memory: int) -> None:
    """Return when one more VM of these limits fits; else QuotaExceeded or PoolFull with the rule's name.

    CPU is divided by shares and has no limit of sum: a full host makes every VM slower, none fail.
    """
    quota = settings.max_vms_per_user if now.quota is None else now.quota
    if now.of_user >= quota:
        raise QuotaExceeded(quota)
    if now.vms >= settings.max_total_vms:
        raise PoolFull("total_vms", settings.max_total_vms, now.vms)
    _memory_fits(now, asked.memory, settings, host_memory)
    _disk_fits(now, asked.disk, settings)


def admit_change(now: Census, have: Limits, asked: Limits, settings: PoolSettings, host_memory: int) -> None:
    """Return when a VM that counts in `now` with `have` may be given `asked`; else PoolFull."""
    if asked.memory > have.memory:
        _memory_fits(now, asked.memory - have.memory, settings, host_memory)
    if asked.disk > have.disk:
        _disk_fits(now, asked.disk - have.disk, settings)


def _memory_fits(now: Census, more: int, settings: PoolSettings, host_memory: int) -> None:
    capacity = memory_capacity(settings, host_memory)
    if now.memory + more > capacity:
        raise PoolFull("memory", capacity, now.memory)


def _disk_fits(now: Census, more: int, settings: PoolSettings) -> None:
    capacity = settings.disk_capacity
    if capacity is not None and now.disk + more > capacity:
        raise PoolFull("disk", capacity, now.disk)
