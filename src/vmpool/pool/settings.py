"""What the pool can be told, as one value.  `vmpool.app` fills it from the environment and a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vmpool.domain.language import WarmStart
from vmpool.domain.limits import (
    DEFAULT_TIMEOUT,
    MAX_EXECUTION_TIME,
    MAX_EXECUTIONS_IN_FLIGHT,
    MAX_TOTAL_VMS,
    MAX_VMS_PER_USER,
)
from vmpool.network.limits import NetworkLimits
from vmpool.network.rules import Rule
from vmpool.packages.depot import Bounds as FetchBounds
from vmpool.pool.warm_pool.bounds import Bounds

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """The networks of VMs in mode `filtered`.

    admit: addresses that VMs may reach although they are not public.  direct_ports: ports at which programs
    that know no proxy are served.  log_entries: kept of each VM.
    """

    limits: NetworkLimits = field(default_factory=NetworkLimits)
    admit: tuple[Rule, ...] = ()
    direct_ports: tuple[int, ...] = (80, 443)
    log_entries: int = 1000


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where events are sent.  admit: addresses that are not public.  timeout: seconds for one delivery."""

    admit: tuple[Rule, ...] = ()
    timeout: float = 15.0


@dataclass(frozen=True, slots=True)
class TemplateSettings:
    """Templates of one user.  most: how many.  most_bytes: of all their files.  cache_bytes: of what is kept
    after the steps of their builds."""

    most: int = 20
    most_bytes: int = 20 << 30
    cache_bytes: int = 10 << 30


@dataclass(frozen=True, slots=True)
class PackageSettings:
    """upstreams: of each registry that is offered its URL, None: the one its tool on this host asks by
    itself; empty: VMs get no packages here.  cache_bytes: on disk.

    without_network: VMs with network `none` may install too: they reach the server's registry and nothing
    else.  bounds: of what is fetched.
    """

    upstreams: Mapping[str, str | None] = field(default_factory=dict)
    without_network: bool = False
    cache_bytes: int = 10 << 30
    bounds: FetchBounds = field(default_factory=FetchBounds)


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Limits, periods and bounds of one pool.

    strict_limits: refuse a VM whose limits this host cannot hold, unless the request says otherwise.
    memory_overcommit: the sum of all VMs' memory limits may reach this many times the host's memory.
    disk_capacity: MB that all VMs' disk limits may sum up to; None: no bound.
    host_memory: MB; None measures the host.  max_cpu, max_memory, max_disk: the largest limit one VM may
    ask for (cores, MB, MB); None means the host's own figure, for disk that of the state
    directory's file system, at least DEFAULT_DISK_LIMIT.
    default_timeout, max_timeout: seconds an execution may take.  max_background: seconds of a background one;
    None: as long as its VM.  max_in_flight: executions at once in one VM.  max_output: bytes of each stream
    that an execution's text shows.  keep_output_of_vm, keep_output: bytes of whole outputs on disk, of one VM
    (None: its disk limit) and of all.  keep_output_share: how much of the latter one user's may be, from 0 to
    1.  keep_free: bytes these leave free on their disk.  max_code: bytes of source (the agent takes 1 MiB of
    source and environment together).  max_stdin: bytes of standard input.
    warm_spares: interpreters kept waiting in each VM.  warm_start: when they are started.  warm_idle: seconds
    without use after which they are ended; 0 keeps them.

    warm_pool: how far the pool of VMs made before anybody asks may go.  network: what VMs may reach.
    webhooks: what events may be sent to.  packages: where VMs get theirs.  templates: of users, their bounds.

    create_timeout, stop_grace, cleanup_timeout, backstop, agent_patience: seconds; for making a machine,
    between TERM and KILL at a stop, for cleaning up after a cancelled verb, past an execution's own timeout
    until the pool stops waiting for the agent, and for re-making a broken connection.
    reconcile_every, expire_every: seconds between two rounds.

    keep_age (seconds), keep_executions (rows per VM), keep_bytes (all output together): the history's
    retention.  keep_audit (seconds), keep_audit_entries: the audit log's.  keep_events (of one user),
    keep_events_age (seconds): the events'.
    """

    isolation: str | None = None
    strict_limits: bool = False
    max_vms_per_user: int = MAX_VMS_PER_USER
    max_total_vms: int = MAX_TOTAL_VMS
    memory_overcommit: float = 2.0
    host_memory: int | None = None
    disk_capacity: int | None = None
    max_cpu: float | None = None
    max_memory: int | None = None
    max_disk: int | None = None

    default_timeout: float = DEFAULT_TIMEOUT
    max_timeout: float = MAX_EXECUTION_TIME
    max_background: float | None = None
    max_in_flight: int = MAX_EXECUTIONS_IN_FLIGHT
    max_output: int = 1 << 20
    keep_output_of_vm: int | None = None
    keep_output: int = 16 << 30
    keep_output_share: float = 0.25
    keep_free: int = 256 << 20
    max_code: int = 960 << 10
    max_stdin: int = 16 << 20
    warm_spares: int = 2
    warm_start: WarmStart = WarmStart.FIRST_USE
    warm_idle: float = 300.0

    warm_pool: Bounds = field(default_factory=Bounds)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    packages: PackageSettings = field(default_factory=PackageSettings)
    templates: TemplateSettings = field(default_factory=TemplateSettings)

    create_timeout: float = 120.0
    stop_grace: float = 2.0
    cleanup_timeout: float = 30.0
    backstop: float = 15.0
    agent_patience: float = 10.0
    reconcile_every: float = 15.0
    expire_every: float = 5.0

    keep_age: float = 30 * DAY
    keep_executions: int = 10_000
    keep_bytes: int = 4 << 30
    keep_audit: float = 365 * DAY
    keep_audit_entries: int = 10_000_000
    keep_events: int = 100_000
    keep_events_age: float = 7 * DAY
