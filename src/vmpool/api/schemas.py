"""What goes over the wire: one Pydantic model for each request body and each answer.

`spec/openapi.json` is rendered from these.  Times are RFC 3339 in UTC with `Z`.  Answers may gain fields,
never lose them; requests refuse fields they do not know, so that a typing error is heard.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from vmpool.domain import ExecutionState, VMState

MAX_CODE_CHARACTERS = 1 << 20
MAX_STDIN_CHARACTERS = 16 << 20
MAX_VARIABLES = 256
LARGEST = (1 << 31) - 1
"""Of whole numbers a VM is described by: what the database's columns take."""
MAX_LABELS = 64

VMName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=63),
    Field(json_schema_extra={"pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"}),
]
"""1 to 63 of `[a-z0-9-]`, not all digits: the pool checks it, with a message for people."""
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Variables = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=255)],
        Annotated[str, StringConstraints(max_length=128 << 10)],
    ],
    Field(max_length=MAX_VARIABLES),
]
"""Environment variables: name → value."""
Labels = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=128)],
        Annotated[str, StringConstraints(max_length=255)],
    ],
    Field(max_length=MAX_LABELS),
]
SourceText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CODE_CHARACTERS)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Request(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Answer(BaseModel):
    """An answer: fields may be added later."""

    # In answers every field is always there, those with a default too.
    model_config = ConfigDict(extra="ignore", json_schema_serialization_defaults_required=True)


# --- errors -------------------------------------------------------------------------------------------


class FieldError(Answer):
    """One wrong field of a request."""

    field: str = Field(description="Where it is, with dots: `env.PATH`, `vm_ids.0`, or a parameter's name.")
    problem: str = Field(description="What would be right.")


class Problem(Answer):
    """An error, as RFC 9457 (`application/problem+json`)."""

    type: str = Field(description="A URI reference that names the kind of problem; ends in `code`.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong with this request, in one sentence.")
    code: str = Field(description="One of the closed list in docs/errors.md.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    request_id: str = Field(description="Also in X-Request-ID; quote it when asking for help.")
    dispatch: Literal["never_dispatched", "outcome_unknown"] | None = Field(
        default=None, description="For failures of the infrastructure: whether the code may have run."
    )
    context: dict[str, object] = Field(default_factory=dict, description="Facts of this occurrence.")
    errors: list[FieldError] | None = Field(default=None, description="Each wrong field, for a 422.")


# --- VMs ----------------------------------------------------------------------------------------------


class CreateVM(Request):
    """Body of `POST /api/vms/create`."""

    name: VMName = Field(description="Unique among your VMs; usable wherever an id is.", examples=["test-vm"])
    language: ShortText = Field(
        description="python, nodejs, java, go, rust, bash, or an alias of one.", examples=["python"]
    )
    template: ShortText | None = Field(default=None, description="Default: the language's own template.")
    cpu_limit: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="CPU cores. Default: the server's, 1.0."
    )
    memory_limit: int | None = Field(
        default=None, gt=0, le=LARGEST, description="MB. Default: the server's, 512."
    )
    disk_limit: int | None = Field(
        default=None, gt=0, le=LARGEST, description="MB. Default: the server's, 1024."
    )
    env: Variables = Field(default_factory=dict, description="Variables every execution starts with.")
    network: Literal["none", "full"] = Field(default="none", description="The VM's network.")
    ttl: int | None = Field(
        default=None, gt=0, le=LARGEST, description="Seconds after creation at which the VM is deleted."
    )
    idle_timeout: int | None = Field(
        default=None,
        gt=0,
        le=LARGEST,
        description="Seconds without use after which the VM is stopped.",
    )
    labels: Labels = Field(default_factory=dict, description="Your own notes on the VM.")


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
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None
    template: str
    backend: str
    isolation: str = Field(description="namespaces, container, gvisor or microvm.")
    network: str
    ttl: int | None = Field(description="Seconds.")
    idle_timeout: int | None = Field(description="Seconds.")
    expires_at: datetime | None = Field(description="When `ttl` ends.")
    env_names: list[str] = Field(description="Names of the VM's variables; their values are not given out.")
    labels: dict[str, str]
    warnings: list[str] = Field(description="One sentence for each limit that is not hard here.")
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


# --- executions ---------------------------------------------------------------------------------------


class Runnable(Request):
    """What both kinds of execution request share: exactly one of `code` and `command`."""

    code: SourceText | None = Field(
        default=None, description="Source text in `language`.", examples=["print('Hello from VM!')"]
    )
    command: SourceText | None = Field(default=None, description="A shell command line.", examples=["ls -l"])
    language: ShortText | None = Field(default=None, description="Default: the VM's own language.")
    timeout: Seconds | None = Field(
        default=None, description="Wall-clock seconds after which it is ended. Default: the server's, 300."
    )
    env: Variables = Field(default_factory=dict, description="Variables beside the VM's own.")
    stdin: Annotated[str, StringConstraints(max_length=MAX_STDIN_CHARACTERS)] | None = Field(
        default=None, description="Text on standard input, which then ends. Default: empty."
    )
    cwd: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = Field(
        default=None, description="A path in the VM, relative to /home/user. Default: /home/user."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.code is None) == (self.command is None):
            raise PydanticCustomError("one_of", "send exactly one of code and command", {"field": "code"})
        return self


class ExecuteRequest(Runnable):
    """Body of `POST /api/vms/{vm_id}/execute`."""


class BatchExecuteRequest(Runnable):
    """Body of `POST /api/vms/batch-execute`."""

    vm_ids: list[int | ShortText] | None = Field(
        default=None, max_length=1000, description="Ids or names. Default: all of your running VMs."
    )


class Execution(Answer):
    """One run of code. A program that fails is a result: see `exit_code`."""

    id: int
    vm_id: int
    code: str = Field(description="The code or the command, as sent.")
    output: str | None = Field(default=None, description="Standard output; null while it runs.")
    error: str | None = Field(default=None, description="Standard error; null while it runs.")
    exit_code: int | None = Field(
        default=None, description="As a shell reports it: 128 + n after signal n. Null while it runs."
    )
    execution_time: float | None = Field(default=None, description="Wall-clock seconds.")
    executed_at: datetime
    timed_out: bool = False
    oom_killed: bool = False
    truncated: bool = Field(default=False, description="More was written than was kept.")
    cpu_time: float | None = Field(default=None, description="Seconds.")
    max_memory: int | None = Field(default=None, description="Bytes: the peak of its largest process.")
    state: ExecutionState = Field(description="running, finished, or lost: the VM went away under it.")
    language: str
    failure: str | None = Field(description="Why it was lost or ended by us.")


class BatchError(Answer):
    """The place of one VM in a batch's answer when its code has no result."""

    vm_id: int | str = Field(description="As in the request.")
    error: Problem


# --- snapshots ----------------------------------------------------------------------------------------


class CreateSnapshot(Request):
    """Body of `POST /api/vms/{vm_id}/snapshot`; may be left out."""

    name: ShortText | None = Field(default=None, description="Default: made from the VM's name and the time.")


class Snapshot(Answer):
    """The files of a VM at one moment."""

    id: int
    vm_id: int
    name: str
    size: int = Field(description="Bytes.")
    created_at: datetime


class RestoreRequest(Request):
    """Body of `POST /api/vms/{vm_id}/restore`."""

    snapshot_id: int


# --- the pool -----------------------------------------------------------------------------------------


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
    isolation: str
    grade: str = Field(description="The backend's own word for how much this host lets it do.")
    enforcement: dict[str, str] = Field(
        description="For cpu, memory, disk, processes and network: what holds it."
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


class PoolStatus(Answer):
    """Limits, use, backend and host."""

    limits: PoolLimits
    use: PoolUse
    states: dict[VMState, int] = Field(description="How many VMs of the whole pool are in each state.")
    backend: BackendStatus
    host: HostStatus
    version: str = Field(description="The server's own.")


# --- users and keys -----------------------------------------------------------------------------------


class CreateUser(Request):
    """Body of `POST /api/users`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._@-]*$", max_length=128)]
    admin: bool = False


class CreateKey(Request):
    """Body of `POST /api/keys`; may be left out."""

    name: ShortText = Field(default="key", description="A note on what it is for.")
    ttl: int | None = Field(
        default=None, gt=0, le=LARGEST, description="Seconds after which it stops working."
    )


class APIKey(Answer):
    """An API key without its secret."""

    id: int
    user_id: int
    name: str
    prefix: str = Field(description="How the secret begins, to recognise it by.")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewAPIKey(APIKey):
    """An API key as it is made: the only time its secret is shown."""

    key: str


class User(Answer):
    """A user of the pool."""

    id: int
    name: str
    admin: bool
    created_at: datetime


class NewUser(User):
    """A user as they are made, with their first key."""

    key: NewAPIKey


class Health(Answer):
    """The server answers."""

    status: Literal["ok"] = "ok"
    version: str


class Readiness(Answer):
    """Whether the server can do its work now: the database and the backend answer."""

    ready: bool
    checks: dict[str, str] = Field(description='For each part "ok" or what is wrong.')
