"""VMs: asked for, shown, measured, and what they write."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import LARGEST, MAX_CORES, Answer, Packages, Request, ShortText, Variables
from vmpool.api.schemas.network import NetworkPolicy
from vmpool.domain import NetworkMode, VMState
from vmpool.domain.isolation import IsolationName

MAX_LABELS = 64

VMName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    Field(json_schema_extra={"pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"}),
]
"""1 to 63 of `[a-z0-9-]`, not all digits: the pool checks it, with a message for people."""
Labels = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=128)],
        Annotated[str, StringConstraints(max_length=255)],
    ],
    Field(max_length=MAX_LABELS),
]
Mode = Annotated[NetworkMode, Field(strict=False)]
"""By its value: JSON has no enumerations, which a strict model would want."""


class CreateVM(Request):
    """Body of `POST /api/vms/create`."""

    name: VMName = Field(description="Unique among your VMs; usable wherever an id is.", examples=["test-vm"])
    language: ShortText | None = Field(
        default=None,
        description="python, nodejs, java, go, rust, bash, or an alias of one. Default: the template's.",
        examples=["python"],
    )
    template: ShortText | None = Field(
        default=None,
        description="What it starts from: a built-in template, or one of your own or a shared one, by id or"
        " name. Default: the language's own.",
    )
    cpu_limit: float | None = Field(
        default=None,
        gt=0,
        le=MAX_CORES,
        allow_inf_nan=False,
        description="CPU cores. Default: the server's, 1.0.",
    )
    memory_limit: int | None = Field(
        default=None, gt=0, le=LARGEST, description="MB. Default: the server's, 512."
    )
    disk_limit: int | None = Field(
        default=None, gt=0, le=LARGEST, description="MB. Default: the server's, 1024."
    )
    process_limit: int | None = Field(
        default=None, gt=0, le=LARGEST, description="Processes and threads. Default: the server's, 512."
    )
    env: Variables = Field(default_factory=dict, description="Variables every execution starts with.")
    network: Mode | None = Field(
        default=None,
        description="none: nothing; filtered: through the server, which checks and logs; full: the backend's "
        "own NAT, unchecked, where the operator offers it. Default: the server's, filtered.",
    )
    network_policy: NetworkPolicy = Field(
        default_factory=NetworkPolicy, description="What it may reach; with network `filtered`."
    )
    isolation: IsolationName | None = Field(
        default=None, description="The wall around it. Default: the server's own, which is also the weakest."
    )
    ttl: int | None = Field(
        default=None, gt=0, le=LARGEST, description="Seconds after creation at which the VM is deleted."
    )
    idle_timeout: int | None = Field(
        default=None,
        gt=0,
        le=LARGEST,
        description="Seconds without use after which the VM is stopped.",
    )
    idle_pause: int | None = Field(
        default=None,
        gt=0,
        le=LARGEST,
        description="Seconds without use after which the VM is paused; it goes on when it is used.",
    )
    labels: Labels = Field(default_factory=dict, description="Your own notes on the VM.")
    packages: Packages = Field(
        default=[],
        description="Installed by the language's own package manager before this answers; where one"
        " cannot be, there is no VM.",
        examples=[["requests"]],
    )
    strict_limits: bool | None = Field(
        default=None,
        description="Refuse where a limit is not hard here, instead of a warning. Default: the server's.",
    )


class ChangeLimits(Request):
    """Body of `PATCH /api/vms/{vm_id}`: what is left out stays as it is."""

    cpu_limit: float | None = Field(
        default=None, gt=0, le=MAX_CORES, allow_inf_nan=False, description="CPU cores."
    )
    memory_limit: int | None = Field(default=None, gt=0, le=LARGEST, description="MB.")
    disk_limit: int | None = Field(
        default=None, gt=0, le=LARGEST, description="MB. It only grows, and where it is hard on a stopped VM."
    )
    process_limit: int | None = Field(
        default=None, gt=0, le=LARGEST, description="Processes and threads together."
    )


class VM(Answer):
    """One virtual machine."""

    id: int
    user_id: int
    name: str
    status: VMState
    language: str
    container_id: str | None = Field(description="The backend's own name of the machine.")
    cpu_limit: float = Field(description="CPU cores.")
    memory_limit: int = Field(description="MB.")
    disk_limit: int = Field(description="MB.")
    process_limit: int = Field(description="Processes and threads together.")
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None
    template: str = Field(description="What it was made from: a built-in template or, by name, a user's.")
    template_id: int | None = Field(default=None, description="Of a user's template; it may be gone by now.")
    backend: str
    isolation: str = Field(description="namespaces, container, gvisor or microvm.")
    network: str
    ttl: int | None = Field(description="Seconds.")
    idle_timeout: int | None = Field(description="Seconds.")
    idle_pause: int | None = Field(description="Seconds.")
    expires_at: datetime | None = Field(description="When `ttl` ends.")
    env_names: list[str] = Field(description="Names of the VM's variables; their values are not given out.")
    labels: dict[str, str]
    warnings: list[str] = Field(description="One sentence for each limit that is not hard here.")
    forked_from: int | None = Field(default=None, description="The VM it is a copy of.")
    error: str | None = Field(description="Why `status` is error.")


class VMStatus(Answer):
    """Live figures of a VM; null where this host has no way to know."""

    id: int
    name: str
    status: VMState
    uptime: float | None = Field(description="Seconds since it was started.")
    cpu_percent: float | None = Field(description="Of one core, since the last look or over a short sample.")
    cpu_seconds: float | None = Field(description="CPU time used since start.")
    cpu_limit: float = Field(description="CPU cores.")
    memory_bytes: int | None
    memory_peak_bytes: int | None
    memory_limit: int = Field(description="MB.")
    disk_bytes: int | None
    disk_limit: int = Field(description="MB.")
    processes: int | None
    oom_kills: int | None = Field(description="Processes killed for memory since start.")
    executions: int = Field(description="Executions in flight.")


class LogEntry(Answer):
    """A piece of output of one execution."""

    execution_id: int
    time: datetime
    stream: Literal["stdout", "stderr"]
    text: str
    skipped: int = Field(
        default=0, description="Characters lost just before it, to a follower slower than the program."
    )
