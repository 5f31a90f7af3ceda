"""The sections of the settings tree: one class for each table of the TOML file."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vmpool.domain.language import WarmStart
from vmpool.domain.limits import (
    DEFAULT_CPU_LIMIT,
    DEFAULT_DISK_LIMIT,
    DEFAULT_MEMORY_LIMIT,
    DEFAULT_PROCESS_LIMIT,
    DEFAULT_TIMEOUT,
    MAX_EXECUTION_TIME,
    MAX_EXECUTIONS_IN_FLIGHT,
    MAX_TOTAL_VMS,
    MAX_VMS_PER_USER,
)
from vmpool.domain.network import NetworkMode

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """One table of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(Section):
    """Where the server listens."""

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8321, ge=0, le=65535, description="Port; 0 takes a free one.")
    drain: float = Field(
        default=10, ge=0, allow_inf_nan=False, description="Seconds requests in progress get at the end."
    )
    max_connections: Count = Field(
        default=4096,
        description="Connections at once, at most half the files it may open; new ones beyond are closed.",
    )
    max_body: Count = Field(default=32 << 20, description="Bytes of a request's body.")
    max_bodies: Count | None = Field(
        default=None,
        description="Bytes of one user's request bodies in flight together, those up to 64 KiB not counted; "
        "default: four of the longest.",
    )
    tls_certificate: Path | None = Field(
        default=None, description="PEM file with the certificate and its chain; with it, TLS only."
    )
    tls_key: Path | None = Field(default=None, description="PEM file with the certificate's key.")
    tls_minimum: Literal["1.2", "1.3"] = Field(default="1.2", description="The oldest version of TLS.")
    trusted_proxies: list[str] = Field(
        default=[],
        description="Addresses and networks of proxies whose X-Forwarded-For and -Proto are believed.",
    )
    access_log: bool = Field(default=False, description="Write a line for each request.")

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key are set together or not at all")
        if self.max_bodies is not None and self.max_bodies < self.max_body:
            raise ValueError("max_bodies is below max_body")
        return self

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, given: list[str]) -> list[str]:
        for one in given:
            ipaddress.ip_network(one)  # raises a ValueError that says what is wrong with it
        return given


class Docker(Section):
    """The docker backend."""

    host: str | None = Field(
        default=None, description="The engine's URL; default: DOCKER_HOST, else the local socket."
    )
    runtime: str | None = Field(
        default=None, description="OCI runtime: runc, crun, runsc, kata; default: the engine's."
    )
    image_prefix: str = Field(default="vmpool/", description="Before a template's name in its image's name.")


class Bubblewrap(Section):
    """The bubblewrap backend."""

    program: Path | None = Field(default=None, description="bwrap, 0.11 or newer; default: found.")


class LimitSettings(Section):
    """What users and VMs may have.  Memory and disk in MB, CPU in cores, times in seconds."""

    strict_limits: bool = Field(
        default=False,
        description="Refuse a VM when a limit is not hard here, unless its request says otherwise.",
    )
    disk_in_memory: bool = Field(
        default=False,
        description="Where no disk limit is hard: keep VMs' files in memory, sized; a stop loses them.",
    )
    max_vms_per_user: Count = Field(default=MAX_VMS_PER_USER, description="VMs one user may have at once.")
    max_total_vms: Count = Field(default=MAX_TOTAL_VMS, description="VMs of all users together.")
    default_cpu_limit: float = Field(
        default=DEFAULT_CPU_LIMIT, gt=0, allow_inf_nan=False, description="Cores of a VM."
    )
    default_memory_limit: Count = Field(default=DEFAULT_MEMORY_LIMIT, description="MB of memory of a VM.")
    default_disk_limit: Count = Field(default=DEFAULT_DISK_LIMIT, description="MB of disk of a VM.")
    process_limit: Count = Field(
        default=DEFAULT_PROCESS_LIMIT, description="Processes and threads of a VM together."
    )
    max_cpu_limit: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Most cores a VM may ask for; default: the host's.",
    )
    max_memory_limit: Count | None = Field(
        default=None, description="Most MB of memory a VM may ask for; default: the host's."
    )
    max_disk_limit: Count | None = Field(
        default=None,
        description="Most MB of disk a VM may ask for; default: those of the state directory's file system,"
        f" at least {DEFAULT_DISK_LIMIT}.",
    )
    default_timeout: Seconds = Field(
        default=DEFAULT_TIMEOUT, description="Seconds of an execution that names none."
    )
    max_execution_time: Seconds = Field(
        default=MAX_EXECUTION_TIME, description="Most seconds an execution may ask for."
    )
    max_background_time: Seconds | None = Field(
        default=None, description="Most seconds of a background execution; empty: as long as its VM."
    )
    max_executions_in_flight: Count = Field(
        default=MAX_EXECUTIONS_IN_FLIGHT, description="Executions at once in one VM."
    )
    max_code: Annotated[int, Field(ge=1, le=960 << 10)] = Field(
        default=960 << 10, description="Bytes of code in one request."
    )
    max_stdin: Count = Field(default=16 << 20, description="Bytes of standard input in one request.")
    memory_overcommit: float = Field(
        default=2.0,
        gt=0,
        allow_inf_nan=False,
        description="The memory limits of all VMs may sum up to this many times the host's memory.",
    )
    disk_capacity: Count | None = Field(
        default=None,
        description="MB the disk limits of all VMs may sum up to; default: no bound on the sum.",
    )
    host_memory: Count | None = Field(
        default=None, description="MB to count the host as having; default: measured."
    )

    @model_validator(mode="after")
    def _defaults_fit(self) -> Self:
        for largest, default in (
            ("max_cpu_limit", "default_cpu_limit"),
            ("max_memory_limit", "default_memory_limit"),
            ("max_disk_limit", "default_disk_limit"),
            ("max_execution_time", "default_timeout"),
        ):
            bound = getattr(self, largest)
            if bound is not None and getattr(self, default) > bound:
                raise ValueError(f"{default} is above {largest}")
        return self


class Output(Section):
    """What is kept of what programs print."""

    inline_limit: Count = Field(
        default=1 << 20,
        description="Bytes of each stream that an execution's answer and the history show; of more, the first"
        " and the last half. The whole is on disk.",
    )
    vm_limit: int | None = Field(
        default=None,
        ge=0,
        description="Bytes of one VM's whole outputs on disk; the oldest make room. Default: its disk limit.",
    )
    total_limit: int = Field(
        default=16 << 30,
        ge=0,
        description="Bytes of whole outputs on disk, of all VMs; the oldest of the writer's user make room.",
    )
    user_share: float = Field(
        default=0.25,
        gt=0,
        le=1,
        description="How much of that one user's VMs may take, as a fraction; their oldest make room.",
    )
    min_free: int = Field(
        default=256 << 20,
        ge=0,
        description="Bytes that whole outputs leave free on the state directory's disk.",
    )


class RetentionSettings(Section):
    """How much history is kept.  Each bound holds, so that nothing grows for ever."""

    age: timedelta = Field(
        default=timedelta(days=30), gt=timedelta(0), description="Seconds, or ISO 8601 like P30D."
    )
    count: Count = Field(default=10_000, description="Executions per VM.")
    bytes: Count = Field(default=4 << 30, description="All code and output together.")
    audit: timedelta = Field(
        default=timedelta(days=365),
        ge=timedelta(days=1),
        description="Of the audit log: as `age`, at least P1D.",
    )
    audit_count: Count = Field(
        default=10_000_000, description="Entries of the audit log; those of the last day stay in any case."
    )
    idempotency_count: Count = Field(
        default=100_000, description="Idempotency keys of one user, each for at most a day."
    )
    idempotency_bytes: Count = Field(
        default=128 << 20, description="Answers kept for one user's idempotency keys, together."
    )
    events_age: timedelta = Field(
        default=timedelta(days=7), gt=timedelta(0), description="Of events: as `age`."
    )
    events_count: Count = Field(default=100_000, description="Events of one user.")


class Lifetime(Section):
    """What a VM gets whose request names neither."""

    ttl: Count | None = Field(default=None, description="Seconds after creation at which a VM is deleted.")
    idle_timeout: Count | None = Field(
        default=None, description="Seconds without use after which a VM is stopped."
    )


class Warm(Section):
    """Interpreters kept ready."""

    spares: int = Field(default=2, ge=0, description="Per running VM.")
    start: WarmStart = Field(
        default=WarmStart.FIRST_USE,
        description="`create`: behind a VM's start; `first_use`: behind its first execution.",
    )
    idle_seconds: float = Field(
        default=300,
        ge=0,
        allow_inf_nan=False,
        description="Without use for so long, a VM's interpreters are ended until the next; 0: never.",
    )


class WarmPool(Section):
    """VMs made before anybody asks, where the backend can hand them on."""

    maximum: int = Field(default=10, ge=0, description="Waiting VMs of one template; 0 keeps none.")
    minimum: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default={}, description="Waiting VMs of a template whatever the demand, by its name."
    )
    memory: Count = Field(default=256, description="MB all waiting VMs together may cost the host.")
    interpreters: int = Field(
        default=1, ge=0, description="Waiting VMs of a template whose interpreter is warm already."
    )
    remember: Seconds = Field(default=600, description="Seconds for which a created VM counts as demand.")
    at_once: Count = Field(default=1, description="Waiting VMs that are made at the same time.")


class Periods(Section):
    """How long the pool waits, and how often it looks.  Seconds."""

    create_timeout: Seconds = Field(default=120, description="For making a machine.")
    stop_grace: Seconds = Field(
        default=2, description="Between asking a VM's processes to end and ending them."
    )
    cleanup_timeout: Seconds = Field(default=30, description="For cleaning up after a cancelled request.")
    reconcile_every: Seconds = Field(default=15, description="Between two comparisons of rows and machines.")
    expire_every: Seconds = Field(
        default=5, description="Between two looks for VMs past ttl or idle_timeout."
    )


class RateSettings(Section):
    """How much in how short a time, as token buckets.  Past it: 429 with Retry-After."""

    requests: float = Field(
        default=1000,
        ge=0,
        allow_inf_nan=False,
        description="Requests a second of one user, all keys together; 0: no limit.",
    )
    requests_burst: Count = Field(default=2000, description="Of them at once, after a pause.")
    failures: float = Field(
        default=1,
        ge=0,
        allow_inf_nan=False,
        description="Requests a second without a valid key from one address; 0: no limit.",
    )
    failures_burst: Count = Field(default=60, description="Of them at once, after a pause.")


class Network(Section):
    """What VMs may reach."""

    mode: NetworkMode = Field(
        default=NetworkMode.FILTERED, description="A VM's network when the request names none."
    )
    full: bool = Field(
        default=False,
        description="Let VMs ask for network `full`, docker's own bridge: nobody checks what they reach "
        "there, one another and this host included.",
    )
    admit: tuple[str, ...] = Field(
        default=(),
        description="Addresses and CIDRs, each with `:port` if need be, that VMs may reach though they are "
        "not public: package mirrors on a private network. A CIDR opens no address of this host.",
    )
    direct_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        default=(80, 443), max_length=64, description="Ports at which programs that know no proxy are served."
    )
    max_connections: Count = Field(default=256, description="Open at once, per VM.")
    connections_per_second: Count = Field(default=100, description="Begun in any second, per VM.")
    max_bytes: Count | None = Field(
        default=None, description="In both directions over a VM's life; default: no bound."
    )
    idle_timeout: Seconds = Field(
        default=300, description="Seconds without a byte after which a connection is ended."
    )
    connect_timeout: Seconds = Field(default=10, description="Seconds for resolving, and for connecting.")
    log_entries: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=1000, description="Connections kept in the log of each VM."
    )


class Packages(Section):
    """What VMs install, through the server's own registry and its cache."""

    enabled: bool = Field(default=True, description="Offer packages to VMs.")
    without_network: bool = Field(
        default=False,
        description="To VMs with network `none` too: they reach the server's registry and nothing else.",
    )
    pypi: str | None = Field(
        default=None,
        description="URL of the index of Python packages behind it (PEP 503 or 691); default: what pip on "
        "the host is configured with, else what it asks by itself.",
    )
    npm: str | None = Field(
        default=None,
        description="URL of npm's registry behind it; default: what npm on the host is configured with, else "
        "what it asks by itself.",
    )
    cargo: str | None = Field(
        default=None,
        description="URL of the sparse index of Rust's crates behind it, without `sparse+`; without "
        "it there are no crates.",
    )
    gem: str | None = Field(
        default=None,
        description="URL of the source of Ruby's gems behind it, with a compact index; default: what gem on "
        "the host asks by itself.",
    )
    cache_bytes: Count = Field(
        default=10 << 30, description="Bytes on disk; what was unused for longest makes room."
    )
    fresh: float = Field(
        default=600, ge=0, allow_inf_nan=False, description="Seconds until an index page is asked for again."
    )
    max_file: Count = Field(default=2 << 30, description="Bytes of one file of a package.")
    timeout: Seconds = Field(default=30, description="Seconds without anything from the registry behind it.")


class Templates(Section):
    """Users' own templates."""

    per_user: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=20, description="Templates one user may have."
    )
    bytes_per_user: int = Field(
        default=20 << 30, ge=0, description="Bytes of files that all templates of one user may have together."
    )
    cache_per_user: int = Field(
        default=10 << 30,
        ge=0,
        description="Bytes kept after the steps of one user's builds; what was unused for longest goes.",
    )


class Webhooks(Section):
    """Where events are sent."""

    admit: tuple[str, ...] = Field(
        default=(),
        description="Addresses and CIDRs, each with `:port` if need be, that webhooks may lead to though "
        "they are not public. A CIDR opens no address of this host.",
    )
    timeout: Seconds = Field(default=15, description="For one delivery.")


class Ports(Section):
    """Servers in VMs, reached from outside."""

    share_url: str | None = Field(
        default=None,
        description="Where links lead, like https://*.vms.example.org: all these names are this server's; "
        "default: http://*.localhost and its own port where it listens on loopback, else none.",
    )
    share_max: Count = Field(default=30 * 24 * 3600, description="Seconds for which a link may be made.")


class Log(Section):
    """The server's own log."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe entries that are written."
    )
    format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal."
    )


class MetricsSettings(Section):
    """Prometheus figures, at `/metrics`."""

    open_on_loopback: bool = Field(
        default=False,
        description="Answer `/metrics` without a key to who connects from loopback (a proxy here does too).",
    )


class Traces(Section):
    """OpenTelemetry, with `pip install 'vmpool[otel]'`."""

    exporter: Literal["none", "otlp", "console"] = Field(
        default="none", description="otlp: to a collector over HTTP; console: to standard output."
    )
    endpoint: str | None = Field(
        default=None,
        description="The collector's URL, up to /v1/traces; default: OTEL_EXPORTER_OTLP_*, else localhost.",
    )
    ratio: float = Field(
        default=1.0, ge=0, le=1, description="Share of traces kept, of those that no caller began."
    )


class Auth(Section):
    """Who may call."""

    owner_key: bool = Field(
        default=True,
        description="On loopback with no users: make one key, readable by the server's owner only.",
    )
