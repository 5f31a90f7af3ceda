"""The pool as a whole, its backend and its host; whether the server is well."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vmpool.api.schemas.base import Answer
from vmpool.domain import VMState


class PoolLimits(Answer):
    """What the pool allows."""

    max_vms_per_user: int
    max_total_vms: int
    max_execution_time: float = Field(description="Seconds.")
    default_timeout: float = Field(description="Seconds.")
    max_executions_in_flight: int = Field(description="Per VM.")
    memory: int | None = Field(description="MB all VMs' limits may sum up to; null: without limit.")
    cpu: float | None = Field(description="Cores all VMs' limits may sum up to; null: shared, without limit.")


class PoolUse(Answer):
    """What is taken."""

    vms: int = Field(description="Your VMs.")
    total_vms: int = Field(description="Everybody's VMs.")
    cpu: float = Field(description="Sum of all CPU limits, in cores.")
    memory: int = Field(description="Sum of all memory limits, in MB.")
    disk: int = Field(description="Sum of all disk limits, in MB.")
    executions: int = Field(description="Executions in flight.")


class BackendStatus(Answer):
    """Where the VMs come from."""

    name: str
    version: str
    reason: str = Field(description="Why this backend was chosen.")
    isolation: str = Field(description="What a VM gets that names none.")
    isolations: list[str] = Field(description="What a VM may ask for here.")
    grade: str = Field(description="The backend's own word for how much this host lets it do.")
    enforcement: dict[str, str] = Field(
        description="For cpu, memory, disk, processes and network: what holds it."
    )
    soft_limits: dict[str, list[str]] = Field(
        description="By isolation: the limits that are not hard on this host."
    )
    capabilities: list[str]
    templates: list[str]


class HostStatus(Answer):
    """Figures of the machine the pool runs on."""

    cpus: int
    cpu_percent: float | None = Field(description="Of all cores.")
    load_average: list[float] = Field(description="1, 5 and 15 minutes.")
    memory_bytes: int
    memory_available_bytes: int
    disk_bytes: int = Field(description="Of the file system the state directory is on.")
    disk_free_bytes: int


class WarmPoolStatus(Answer):
    """VMs made before anybody asks.  Counts are since the server's start."""

    enabled: bool
    reason: str = Field(description="Why there is none; empty where there is one.")
    ready: dict[str, int] = Field(description="Waiting VMs by template.")
    wanted: dict[str, int] = Field(description="How many there should be, by demand.")
    making: int = Field(description="Being made now.")
    hits: int = Field(description="Created VMs that had been waiting.")
    misses: dict[str, int] = Field(description="Created VMs that had to be made, by reason.")
    hit_rate: float | None = Field(description="Hits of all creates; null before the first.")
    made: int
    dropped: int = Field(description="Waiting VMs that were given up.")
    failed: int = Field(description="Tries to make one that failed.")


class PoolStatus(Answer):
    """Limits, use, backend, host and warm pool."""

    limits: PoolLimits
    use: PoolUse
    states: dict[VMState, int] = Field(description="How many VMs of the whole pool are in each state.")
    backend: BackendStatus
    host: HostStatus
    warm_pool: WarmPoolStatus
    version: str = Field(description="The server's own.")


class Health(Answer):
    """The server answers."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(Answer):
    """Whether the server can do its work now: the database and the backend answer."""

    ready: bool
    checks: dict[str, str] = Field(description='For each part "ok" or what is wrong.')
