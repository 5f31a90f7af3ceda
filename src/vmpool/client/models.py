"""What the server answers, as typed values.

Each mirrors the schema of the same name in `spec/openapi.json`.  A newer server may send more: unknown
fields are kept (`model_dump()` shows them), and closed lists such as `status` are plain strings here.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vmpool.client.errors import APIError, Dispatch, error_class

Stream = Literal["stdout", "stderr"]
"""One of the two a program writes to."""
Text = Annotated[str, BeforeValidator(lambda sent: "" if sent is None else sent)]
"""What a program wrote: nothing yet, which the server sends as null, reads as nothing."""


class Answer(BaseModel):
    """An immutable value from the server."""

    model_config = ConfigDict(extra="allow", frozen=True)


class FieldError(Answer):
    """One wrong field of a request."""

    field: str
    problem: str


class Problem(Answer):
    """An error as the server sends it (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    status: int = 500
    detail: str = ""
    code: str
    retryable: bool = False
    request_id: str | None = None
    dispatch: Dispatch | None = None
    context: dict[str, object] = Field(default_factory=dict)
    errors: list[FieldError] | None = None

    def as_error(self, retry_after: float | None = None) -> APIError:
        """The exception of this problem's code.  retry_after: seconds, from the answer's header."""
        wait = self.context.get("retry_after")
        if retry_after is None and isinstance(wait, int | float):
            retry_after = float(wait)
        context = dict(self.context)
        if self.errors and "field" not in context:
            context["field"] = self.errors[0].field
        return error_class(self.code, self.status)(
            self.detail or self.title or f"HTTP {self.status}",
            status=self.status,
            code=self.code,
            retryable=self.retryable,
            context=context,
            request_id=self.request_id,
            dispatch=self.dispatch,
            retry_after=retry_after,
        )


class VM(Answer):
    """One virtual machine, as it was when the server answered.

    status: running, paused, stopped or error, or one of creating, starting, stopping, restoring, deleting.
    cpu_limit: cores.  memory_limit, disk_limit: MB.  ttl, idle_timeout, idle_pause: seconds.  warnings: one
    sentence for each limit that is not hard on this server.  template: what it was made from; template_id: of
    a user's one.  forked_from: the VM it is a copy of.  error: why `status` is error.
    """

    id: int
    user_id: int
    name: str
    status: str
    language: str
    container_id: str | None
    cpu_limit: float
    memory_limit: int
    disk_limit: int
    process_limit: int
    created_at: datetime
    started_at: datetime | None
    stopped_at: datetime | None
    template: str
    backend: str
    isolation: str
    network: str
    ttl: int | None
    idle_timeout: int | None
    idle_pause: int | None = None
    expires_at: datetime | None
    env_names: list[str]
    labels: dict[str, str]
    warnings: list[str]
    error: str | None
    forked_from: int | None = None
    template_id: int | None = None


class VMStatus(Answer):
    """Live figures of a VM; None where the server's host has no way to know."""

    id: int
    name: str
    status: str
    uptime: float | None
    cpu_percent: float | None
    cpu_seconds: float | None
    cpu_limit: float
    memory_bytes: int | None
    memory_peak_bytes: int | None
    memory_limit: int
    disk_bytes: int | None
    disk_limit: int
    processes: int | None
    oom_kills: int | None
    executions: int


class LogEntry(Answer):
    """A piece of output of one execution.  skipped: characters lost before it to a slow follower."""

    execution_id: int
    time: datetime
    stream: Stream
    text: str
    skipped: int = 0


class Execution(Answer):
    """One run of code.  A program that fails is a result: see `exit_code`.

    output, error: what the program wrote to standard output and standard error; empty while it runs.
    exit_code: as a shell reports it (128 + n after signal n).  execution_time, cpu_time: seconds.
    max_memory: bytes.  build_failed: its source could not be compiled, and `error` says why.  truncated:
    more was written than stands here.  output_bytes, error_bytes: how long the streams were;
    `client.output` has them whole, but for `dropped` bytes.  state: running, finished, or lost (see
    `failure`).  background: nobody waited for it.  terminal: it had one; then `output` has all of it.
    """

    id: int
    vm_id: int
    code: str
    output: Text
    error: Text
    exit_code: int | None
    execution_time: float | None
    executed_at: datetime
    timed_out: bool
    oom_killed: bool
    truncated: bool
    build_failed: bool = False
    output_bytes: int | None = None
    error_bytes: int | None = None
    dropped: int = 0
    cpu_time: float | None
    max_memory: int | None
    state: str
    language: str
    failure: str | None
    background: bool = False
    terminal: bool = False

    @property
    def ok(self) -> bool:
        """Whether the program ran to its end and exited with 0."""
        return self.exit_code == 0 and not self.timed_out and self.state == "finished"


class StdinPosition(Answer):
    """How many bytes of a program's standard input were taken.  closed: nothing can follow."""

    offset: int
    closed: bool


class BatchError(Answer):
    """The place of one VM in a batch's answer when its code has no result.

    It can be read like an `Execution` that printed nothing; `problem.as_error()` is the exception.
    """

    vm_id: int | str
    problem: Problem = Field(alias="error")

    ok: Literal[False] = Field(default=False, exclude=True)
    output: Literal[""] = Field(default="", exclude=True)
    exit_code: None = Field(default=None, exclude=True)

    @property
    def error(self) -> str:
        """What went wrong, in one sentence."""
        return self.problem.detail


class Snapshot(Answer):
    """The files of a VM at one moment.  size: bytes.

    parent_id: the snapshot it came after.  base: what it stands on.  sealed: its files are compared with what
    was kept before it is restored.
    """

    id: int
    vm_id: int
    name: str
    size: int
    created_at: datetime
    parent_id: int | None = None
    backend: str = ""
    base: str = ""
    sealed: bool = False


class Template(Answer):
    """Kept files that VMs start from.

    language: of VMs whose creation names none.  base: the built-in template it stands on.  parent,
    parent_id: the template it was made from, by the name it had, and its id where it is a user's.  disk: MB
    that VMs from it have at least.  size: bytes.  shared: everybody may make VMs from it.
    """

    id: int
    user_id: int
    name: str
    description: str
    language: str
    base: str
    parent: str
    parent_id: int | None
    backend: str
    disk: int
    size: int
    shared: bool
    created_at: datetime


class TemplateBuild(Answer):
    """A template on its way, or what became of one.

    base: the template it begins with.  steps: what is shown of each.  done: how many are done.  state:
    building, ready, failed or cancelled.  failure: why there is no template.
    """

    id: int
    name: str
    description: str
    base: str
    steps: list[str]
    done: int
    state: str
    failure: str | None
    template_id: int | None
    created_at: datetime
    ended_at: datetime | None


class BuildOutput(Answer):
    """A piece of a build's log.  offset: of its first byte."""

    offset: int
    text: str


class NetworkPolicy(Answer):
    """What a VM with network "filtered" may reach, as it was asked for.

    allow: rules; none: every public address.  deny: rules that win.  None: the server's own limit.
    """

    allow: list[str]
    deny: list[str]
    group: str | None
    max_connections: int | None
    connections_per_second: int | None
    max_bytes: int | None


class NetworkLimits(Answer):
    """The limits that hold.  max_bytes: None: without bound."""

    max_connections: int
    connections_per_second: int
    max_bytes: int | None


class NetworkUse(Answer):
    """Connections by what became of them, and bytes, since the server's start.

    bytes_up: from the VM.  bytes_down: to the VM.  bytes_used: both, over the VM's life.
    """

    open: int
    allowed: int
    refused: int
    failed: int
    cut: int
    bytes_up: int
    bytes_down: int
    bytes_used: int


class Network(Answer):
    """A VM's network.  mode: none, filtered or full."""

    mode: str
    policy: NetworkPolicy
    limits: NetworkLimits
    use: NetworkUse


class NetworkLogEntry(Answer):
    """One connection a VM asked for, once it has ended.

    verdict: allowed, refused, failed or cut.  rule: what decided.  address: what was dialled, where something
    was.  skipped: entries lost before it.
    """

    id: int
    time: datetime
    via: str
    host: str
    port: int
    address: str | None
    verdict: str
    rule: str
    bytes_up: int
    bytes_down: int
    seconds: float
    skipped: int


class PoolLimits(Answer):
    """What the pool allows.  memory: MB and cpu: cores that all VMs' limits may sum up to."""

    max_vms_per_user: int
    max_total_vms: int
    max_execution_time: float
    default_timeout: float
    max_executions_in_flight: int
    memory: int | None
    cpu: float | None


class PoolUse(Answer):
    """What is taken: your VMs, everybody's VMs, and the sums of their limits (cores, MB, MB)."""

    vms: int
    total_vms: int
    cpu: float
    memory: int
    disk: int
    executions: int


class BackendStatus(Answer):
    """Where the VMs come from, what holds each limit, and by isolation those that are not hard."""

    name: str
    version: str
    reason: str
    isolation: str
    isolations: list[str]
    grade: str
    enforcement: dict[str, str]
    soft_limits: dict[str, list[str]]
    capabilities: list[str]
    templates: list[str]


class HostStatus(Answer):
    """Figures of the machine the pool runs on."""

    cpus: int
    cpu_percent: float | None
    load_average: list[float]
    memory_bytes: int
    memory_available_bytes: int
    disk_bytes: int
    disk_free_bytes: int


class WarmPoolStatus(Answer):
    """VMs made before anybody asks, by template; counts since the server's start.

    reason: why there is none.  hits, misses: created VMs that had been waiting, and that had to be made.
    """

    enabled: bool
    reason: str
    ready: dict[str, int]
    wanted: dict[str, int]
    making: int
    hits: int
    misses: dict[str, int]
    hit_rate: float | None
    made: int
    dropped: int
    failed: int


class PoolStatus(Answer):
    """Limits, use, backend, host and warm pool.  states: VMs of the whole pool in each state."""

    limits: PoolLimits
    use: PoolUse
    states: dict[str, int]
    backend: BackendStatus
    host: HostStatus
    warm_pool: WarmPoolStatus
    version: str


class APIKey(Answer):
    """An API key without its secret.  prefix: how the secret begins.  scopes: what it may do."""

    id: int
    user_id: int
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewAPIKey(APIKey):
    """An API key as it is made: the only time its secret is shown."""

    key: str


class User(Answer):
    """A user of the pool.

    disabled_at: since when their keys are refused.  max_vms: VMs at once; None: the server's limit.
    """

    id: int
    name: str
    admin: bool
    created_at: datetime
    disabled_at: datetime | None
    max_vms: int | None


class NewUser(User):
    """A user as they are made, with their first key."""

    key: NewAPIKey


class Use(Answer):
    """What a user takes of the pool.  cpu: cores.  memory, disk: MB, of their VMs' limits."""

    user: User
    vms: int
    running: int
    cpu: float
    memory: int
    disk: int
    executions: int


class AuditEntry(Answer):
    """Something that was done, or refused.  user_id, key_id: who, None where no key proved it."""

    id: int
    time: datetime
    user_id: int | None
    user: str | None
    key_id: int | None
    address: str | None
    action: str
    target: str | None
    facts: dict[str, object]
    status: int
    request_id: str


class Event(Answer):
    """A change of a VM, an execution or a snapshot.

    id: greater than that of every event before it.  type: what changed, and to what: `vm.running`,
    `execution.finished`, `snapshot.ready`.  facts: small things worth knowing without asking.
    """

    id: int
    time: datetime
    type: str
    vm_id: int | None
    execution_id: int | None
    snapshot_id: int | None
    facts: dict[str, object]


class Webhook(Answer):
    """A URL to which events are sent.  failing_since: nothing has arrived there since."""

    id: int
    url: str
    types: list[str]
    enabled: bool
    created_at: datetime
    failing_since: datetime | None
    disabled_because: str | None


class NewWebhook(Webhook):
    """A webhook with the secret that signatures are made with."""

    secret: str = Field(repr=False)


class Delivery(Answer):
    """One try to send something to a webhook.  stage: "delivered", "retrying" or "failed"."""

    id: int
    webhook_id: int
    event_id: int | None
    type: str
    attempt: int
    stage: str
    time: datetime
    seconds: float
    status: int | None
    problem: str | None


class Secret(Answer):
    """A secret without its value.  vm_id: for this VM only; None: for all of yours.

    hosts: put into requests to these, never given to executions.
    """

    id: int
    name: str
    vm_id: int | None
    hosts: list[str]
    created_at: datetime
    updated_at: datetime


class FileChange(Answer):
    """One change of what is watched in a VM.

    kind: "watching" (the first: look at what is there now), "created", "changed", "attributes", "removed",
    "moved" or "lost" (changes went by unseen, look anew).  path: relative to what is watched, for people,
    empty for that itself; `raw_path` is exact.  moved_from: where it was.
    """

    kind: str
    path: str = ""
    encoded_path: str = ""
    directory: bool = False
    moved_from: str | None = None
    encoded_moved_from: str | None = None

    @property
    def raw_path(self) -> bytes:
        """The path as the VM has it."""
        return unquote_to_bytes(self.encoded_path)

    @property
    def raw_moved_from(self) -> bytes:
        """Where it was, as the VM has it; empty for what was not moved."""
        return unquote_to_bytes(self.encoded_moved_from or "")


class FileInfo(Answer):
    """What is known of a file, directory or link in a VM.

    name: for people; `raw_name` is exact.  kind: "file", "directory", "link" or "other".  mode: permission
    bits, octal.  version: changes with the content.  target: where a link leads.
    """

    name: str
    encoded_name: str
    kind: str
    size: int
    mode: str
    mtime_ns: int
    modified_at: datetime | None
    version: str
    target: str | None
    encoded_target: str | None

    @property
    def raw_name(self) -> bytes:
        """The name as the VM has it."""
        return unquote_to_bytes(self.encoded_name)

    @property
    def raw_target(self) -> bytes:
        """Where a link leads, as the VM has it; empty for all else."""
        return unquote_to_bytes(self.encoded_target or "")


class RefusedFile(Answer):
    """An entry of an archive that was left out."""

    name: str
    encoded_name: str
    problem: str


class UnpackedTree(Answer):
    """What came of an upload.  refused: what was left out; more_refused: beyond those."""

    entries: int
    bytes: int
    refused: list[RefusedFile]
    more_refused: int


class Synced(BaseModel):
    """What a sync did.  bytes: of the files that were sent."""

    model_config = ConfigDict(frozen=True)

    sent: int
    removed: int
    unchanged: int
    bytes: int
    refused: list[RefusedFile]


class Share(Answer):
    """A link to a port of a VM.  url: it cannot be asked for again."""

    vm_id: int
    port: int
    url: str
    expires_at: datetime


class CodeContext(Answer):
    """A kernel that remembers from one cell to the next.

    state: idle, busy or dead (see `failure`).  cells: how many its kernel has begun.  waiting: those in line
    behind the one that runs.
    """

    id: int
    vm_id: int
    language: str
    state: str
    cells: int
    waiting: int
    cwd: str | None
    failure: str | None
    created_at: datetime


class CellOutput(Answer):
    """One thing a cell has put out.

    type: stdout or stderr, with `text`; result or display, with `data`: the value by MIME type, as text, as
    Base64 where the type is binary, or as JSON; error, with `name`, `value` and `traceback`.
    """

    type: str
    text: str | None = None
    data: dict[str, Any] | None = None
    name: str | None = None
    value: str | None = None
    traceback: str | None = None


class CellResult(Answer):
    """How a cell ended.

    state: ok, error, interrupted, timed_out or died.  outputs: in order.  truncated: it has put out more than
    is kept of one cell.  execution_time: seconds.
    """

    number: int
    state: str
    outputs: list[CellOutput]
    truncated: bool
    execution_time: float

    @property
    def ok(self) -> bool:
        """It ended well."""
        return self.state == "ok"

    @property
    def data(self) -> dict[str, Any] | None:
        """The value of its last line by MIME type; None where it has none."""
        return next((one.data for one in reversed(self.outputs) if one.type == "result"), None)

    @property
    def text(self) -> str | None:
        """The value of its last line as text."""
        found = (self.data or {}).get("text/plain")
        return found if isinstance(found, str) else None

    @property
    def stdout(self) -> str:
        """All it has written to standard output."""
        return "".join(one.text or "" for one in self.outputs if one.type == "stdout")

    @property
    def stderr(self) -> str:
        """All it has written to standard error."""
        return "".join(one.text or "" for one in self.outputs if one.type == "stderr")

    @property
    def error(self) -> CellOutput | None:
        """What it ended with, if not well."""
        return next((one for one in self.outputs if one.type == "error"), None)


CellEvent: TypeAlias = CellOutput | CellResult
"""An output of a cell, or how it ended."""


class Health(Answer):
    """The server answers."""

    status: str
    version: str


class Readiness(Answer):
    """Whether the server can do its work; checks: for each part "ok" or what is wrong."""

    ready: bool
    checks: dict[str, str]
