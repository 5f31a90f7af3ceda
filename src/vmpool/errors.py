"""Every error of vmpool, as one tree with a closed list of codes.

::

    VMPoolError
    ├── InvalidRequest              422  a field is wrong; `field` names it
    │   ├── IdempotencyMismatch     422  same Idempotency-Key, another body
    │   ├── RangeNotSatisfiable     416  bytes past the end of an output
    │   ├── SnapshotFileRefused     422  what was sent is no snapshot, damaged, or has what none may have
    │   └── Unsupported             422  this host or backend has no such capability
    │       ├── IsolationUnavailable 422 this server has no such wall; `offered` lists what it has
    │       └── LimitsNotHard       422  hard limits were demanded; `soft` lists those this host cannot hold
    ├── Unauthenticated             401
    │   └── ShareInvalid            401  a share link that is none, has expired or was revoked
    ├── Forbidden                   403
    │   ├── InsufficientScope       403  the key was made without this scope
    │   └── UserDisabled            403
    ├── NotFound                    404  (also for what belongs to somebody else)
    │   ├── VMNotFound · ExecutionNotFound · SnapshotNotFound · TemplateNotFound · KeyNotFound
    │   ├── WebhookNotFound
    │   ├── BuildNotFound
    │   ├── EventsGone              410  not kept any more
    │   └── UserNotFound · OutputNotKept · PathNotFound · ContextNotFound · SecretNotFound
    ├── Conflict                    409
    │   ├── NameTaken               409
    │   ├── IllegalTransition       409  the VM's state does not allow this verb
    │   ├── VMNotRunning            409
    │   ├── ExecutionEnded          409  nothing can be sent to it any more
    │   ├── BuildEnded              409  there is nothing to cancel any more
    │   ├── BuildFailed             409  a step of a template's build did not do what it should
    │   ├── ContextDead             409  its kernel has ended, and with it all it remembered
    │   ├── SnapshotMismatch        409  the snapshot stands on another base
    │   ├── SnapshotTooLarge        409  the VM's files, holes counted as data, are more than its disk
    │   ├── SnapshotDamaged         409  its stored files are not what was kept
    │   ├── FileRefused             409  the VM's kernel refused it; `reason` says why
    │   ├── FileChanged             412  the file is not as the caller last saw it
    │   ├── TooManyWebhooks         409  the user's limit of webhooks
    │   ├── TooManySecrets          409  the user's limit of secrets
    │   ├── TooManyTemplates        409  the user's limit of templates, or of their bytes
    │   └── DiskFull                507  the VM's disk has no room for it
    ├── LimitReached                429  Retry-After
    │   ├── QuotaExceeded           429  the user's own limit
    │   ├── TooManyExecutions       429  the VM's limit of executions in flight
    │   ├── TooManyConnections      429  the VM's limit of connections into it
    │   ├── TooManyContexts         429  the VM's limit of contexts
    │   ├── TooManyCells            429  the context's limit of cells in line
    │   └── RateLimited             429  too much in a short time
    ├── PoolFull                    503  Retry-After; the host's limit
    ├── StoreFailed                 500  our database refused or is gone
    └── InfrastructureFailure       502  the program was not at fault; `dispatch` says whether it may have run
        ├── BackendUnreachable      503
        ├── BackendFailed           502
        ├── AgentUnreachable        502
        ├── AgentRefused            502
        ├── AgentTooOld             502
        ├── PortFailed              502  what should answer at a port of the VM does not: a program in it
        │   ├── NothingListens      502
        │   └── BadPortAnswer       502  it broke off, or what it says is no HTTP
        └── Interrupted             502  a server ended in the middle of the request with this Idempotency-Key

The HTTP status stands here for the reader only; `vmpool.api.errors` holds the table.  A program that
exits non-zero, times out or is killed is a *result*, never one of these.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Literal

Dispatch = Literal["never_dispatched", "outcome_unknown"]
"""Whether the caller's code may have run when the infrastructure failed."""


class VMPoolError(Exception):
    """Root of the tree.  `context` holds the typed facts of one occurrence, safe to show to the caller."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context: dict[str, object] = context

    @property
    def retry_after(self) -> float | None:
        """Seconds after which a retry makes sense, where known."""
        value = self.context.get("retry_after")
        return float(value) if isinstance(value, int | float) else None


class InvalidRequest(VMPoolError):
    """A field of the request is wrong; the message says what would be right."""

    code: ClassVar[str] = "invalid_request"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}", field=field)


class IdempotencyMismatch(InvalidRequest):
    """The same Idempotency-Key came with another body."""

    code: ClassVar[str] = "idempotency_mismatch"

    def __init__(self) -> None:
        super().__init__("Idempotency-Key", "was used before with another request; send a fresh key")


class SnapshotFileRefused(InvalidRequest):
    """The file is no snapshot, is cut short or damaged, or holds what none may hold; nothing was kept."""

    code: ClassVar[str] = "snapshot_file_refused"

    def __init__(self, problem: str) -> None:
        super().__init__("file", f"{problem}. Nothing is kept of it; export the snapshot again")


class Unsupported(InvalidRequest):
    """The backend that holds the VM lacks this capability."""

    code: ClassVar[str] = "unsupported"

    def __init__(self, capability: str, backend: str, remedy: str = "") -> None:
        super().__init__(
            capability,
            f"is not available on the {backend} backend" + (f"; {remedy}" if remedy else ""),
        )


class IsolationUnavailable(Unsupported):
    """This server has no such isolation; `offered` lists what it has."""

    code: ClassVar[str] = "isolation_unavailable"

    def __init__(self, asked: str, backend: str, offered: tuple[str, ...], remedy: str) -> None:
        super().__init__(
            "isolation", backend, f"it offers {', '.join(offered) or 'none'}, not '{asked}'; {remedy}"
        )
        self.context["offered"] = ", ".join(offered)


class RangeNotSatisfiable(InvalidRequest):
    """Bytes past the end of an output were asked for.  size: how many there are."""

    code: ClassVar[str] = "range_not_satisfiable"

    def __init__(self, field: str, size: int) -> None:
        super().__init__(field, f"begins past the end: there are {size} bytes")
        self.context["size"] = size


class LimitsNotHard(Unsupported):
    """Hard limits were demanded and this host cannot hold all of them; `soft` lists those it cannot."""

    code: ClassVar[str] = "limits_not_hard"

    def __init__(self, backend: str, soft: tuple[str, ...]) -> None:
        super().__init__(
            "strict_limits",
            backend,
            f"nothing here holds {' and '.join(soft)} for a VM as a whole ('vm pool' shows what does how "
            "far); create the VM without strict limits",
        )
        self.context["soft"] = ", ".join(soft)


class Unauthenticated(VMPoolError):
    """No key, or one that is unknown, revoked or expired."""

    code: ClassVar[str] = "unauthenticated"

    def __init__(self, message: str = "send a valid API key as 'Authorization: Bearer <key>'") -> None:
        super().__init__(message)


class ShareInvalid(Unauthenticated):
    """A share link that is none, has expired, or was revoked: the three are not told apart."""

    code: ClassVar[str] = "share_invalid"

    def __init__(self) -> None:
        super().__init__("this link is not valid, or not any more; ask whoever sent it for another one")


class Forbidden(VMPoolError):
    """The key is valid and lacks the right."""

    code: ClassVar[str] = "forbidden"


class InsufficientScope(Forbidden):
    """The key is valid and was made without the scope this needs; the message names it."""

    code: ClassVar[str] = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"this key lacks the scope '{scope}'; use one that has it", scope=str(scope))


class UserDisabled(Forbidden):
    """The key is valid and an administrator has disabled its user."""

    code: ClassVar[str] = "user_disabled"

    def __init__(self, user_id: int, key_id: int) -> None:
        # Who it was: for the audit log, not for the answer.
        super().__init__("your user is disabled on this server; ask its administrator")
        self.user_id = user_id
        self.key_id = key_id


class NotFound(VMPoolError):
    """No such thing, or it belongs to another user: the two are not told apart."""

    code: ClassVar[str] = "not_found"
    noun: ClassVar[str] = "resource"

    def __init__(self, reference: int | str) -> None:
        super().__init__(f"no {self.noun} '{reference}'", reference=str(reference))


class VMNotFound(NotFound):
    """No such VM among the caller's."""

    code: ClassVar[str] = "vm_not_found"
    noun: ClassVar[str] = "VM"


class ExecutionNotFound(NotFound):
    """No such execution in this VM."""

    code: ClassVar[str] = "execution_not_found"
    noun: ClassVar[str] = "execution"


class OutputNotKept(NotFound):
    """The execution is there, but its output is not as it was written: there was no room for all of it."""

    code: ClassVar[str] = "output_not_kept"

    def __init__(self, execution_id: int, stream: str) -> None:
        VMPoolError.__init__(
            self,
            f"{stream} of execution {execution_id} is not kept whole any more; what the history has of it"
            " stands in the execution",
            id=execution_id,
            stream=stream,
        )


class SnapshotNotFound(NotFound):
    """No such snapshot of this VM."""

    code: ClassVar[str] = "snapshot_not_found"
    noun: ClassVar[str] = "snapshot"


class TemplateNotFound(NotFound):
    """No such template on this backend."""

    code: ClassVar[str] = "template_not_found"
    noun: ClassVar[str] = "template"

    def __init__(self, name: str, present: Collection[str] = ()) -> None:
        """present: what there is, where the caller can choose from it."""
        super().__init__(name)
        if present:
            self.message += f"; there is {', '.join(sorted(present))}"


class BuildNotFound(NotFound):
    """No such build of a template."""

    code: ClassVar[str] = "build_not_found"
    noun: ClassVar[str] = "build"


class KeyNotFound(NotFound):
    """No such API key."""

    code: ClassVar[str] = "key_not_found"
    noun: ClassVar[str] = "API key"


class UserNotFound(NotFound):
    """No such user."""

    code: ClassVar[str] = "user_not_found"
    noun: ClassVar[str] = "user"


class PathNotFound(NotFound):
    """No file or directory of this path in the VM, as far as its user can see."""

    code: ClassVar[str] = "path_not_found"
    noun: ClassVar[str] = "file or directory"


class SecretNotFound(NotFound):
    """No such secret of the caller's for this VM."""

    code: ClassVar[str] = "secret_not_found"
    noun: ClassVar[str] = "secret"


class WebhookNotFound(NotFound):
    """No such webhook."""

    code: ClassVar[str] = "webhook_not_found"
    noun: ClassVar[str] = "webhook"


class EventsGone(NotFound):
    """Events after this one are not kept any more; look at everything once and go on from now."""

    code: ClassVar[str] = "events_gone"

    def __init__(self, position: int) -> None:
        VMPoolError.__init__(
            self,
            f"what followed event {position} is not kept any more, or never was here; look at your VMs once,"
            " and ask again without Last-Event-ID",
            after=position,
        )


class ContextNotFound(NotFound):
    """No such context of this VM."""

    code: ClassVar[str] = "context_not_found"
    noun: ClassVar[str] = "context"


class Conflict(VMPoolError):
    """The request is right and the thing's present state forbids it."""

    code: ClassVar[str] = "conflict"


class NameTaken(Conflict):
    """The user already has a VM of this name."""

    code: ClassVar[str] = "name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"you already have a VM named '{name}'", name=name)


class TooManySecrets(Conflict):
    """The user has as many secrets as allowed."""

    code: ClassVar[str] = "too_many_secrets"

    def __init__(self, limit: int) -> None:
        super().__init__(f"you have {limit} secrets, which is the limit; delete one first", limit=limit)


class TooManyWebhooks(Conflict):
    """The user has as many webhooks as allowed."""

    code: ClassVar[str] = "too_many_webhooks"

    def __init__(self, limit: int) -> None:
        super().__init__(f"you have {limit} webhooks, which is the limit; delete one first", limit=limit)


class BuildEnded(Conflict):
    """The build of a template has ended already."""

    code: ClassVar[str] = "build_ended"

    def __init__(self, build_id: int, state: str) -> None:
        super().__init__(f"build {build_id} is {state}; there is nothing to cancel", id=build_id, state=state)


class BuildFailed(Conflict):
    """A step of a template's build did not do what it should; the message says which, and what it wrote."""

    code: ClassVar[str] = "build_failed"


class TooManyTemplates(Conflict):
    """The user has as many templates as allowed, or as many bytes in them."""

    code: ClassVar[str] = "too_many_templates"

    def __init__(self, limit: int, unit: str = "templates") -> None:
        """unit: "templates", or "bytes" that all of them may have together."""
        have = f"you have {limit} templates, which is the limit"
        if unit == "bytes":
            have = f"your templates would take more than {limit} bytes, which is the limit"
        super().__init__(f"{have}; delete one first", limit=limit, unit=unit)


class IllegalTransition(Conflict):
    """The state machine has no such arrow."""

    code: ClassVar[str] = "illegal_transition"

    def __init__(self, reference: int | str, state: str, target: str) -> None:
        super().__init__(f"VM {reference} is {state} and cannot become {target}", state=state, target=target)


class VMNotRunning(Conflict):
    """The verb needs a running VM."""

    code: ClassVar[str] = "vm_not_running"

    def __init__(self, reference: int | str, state: str) -> None:
        super().__init__(
            f"VM {reference} is {state}; start it with POST /api/vms/{reference}/start", state=state
        )


class ExecutionEnded(Conflict):
    """The verb needs an execution that runs, or one whose standard input is open."""

    code: ClassVar[str] = "execution_ended"

    def __init__(self, execution_id: int, problem: str = "has ended") -> None:
        super().__init__(f"execution {execution_id} {problem}", id=execution_id)


class ContextDead(Conflict):
    """The context's kernel has ended, and with it all it remembered; `failure` says why."""

    code: ClassVar[str] = "context_dead"

    def __init__(self, context_id: int, failure: str) -> None:
        super().__init__(
            f"context {context_id} is dead: {failure}; restart it, which begins with nothing",
            id=context_id,
            failure=failure,
        )
        self.failure = failure


class SnapshotMismatch(Conflict):
    """The snapshot stood on a base that this host no longer has."""

    code: ClassVar[str] = "snapshot_mismatch"


class SnapshotTooLarge(Conflict):
    """The VM's files, holes counted as data, are more than its disk: so much would a snapshot here take."""

    code: ClassVar[str] = "snapshot_too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"a snapshot would take {size} bytes, holes in files included; the VM's disk has {limit}."
            " Remove large files, such as those made by truncate",
            size=size,
            limit=limit,
        )


class SnapshotDamaged(Conflict):
    """What is stored of the snapshot is not what was kept; nothing was changed.  Take another one."""

    code: ClassVar[str] = "snapshot_damaged"

    def __init__(self, problem: str) -> None:
        super().__init__(f"the snapshot is damaged: {problem}; nothing was changed. Use another snapshot")


class FileRefused(Conflict):
    """The VM's own kernel refused it: `reason` is permission, not_a_file, exists and so on."""

    code: ClassVar[str] = "file_refused"

    def __init__(self, path: str, reason: str, problem: str) -> None:
        super().__init__(f"'{path}': {problem}", path=path, reason=reason)
        self.reason = reason


class FileChanged(Conflict):
    """The file is not as the request says it must be: its ETag, its size or its absence."""

    code: ClassVar[str] = "file_changed"

    def __init__(self, path: str, problem: str, size: int | None = None) -> None:
        super().__init__(f"'{path}' {problem}", path=path, size=size)


class DiskFull(Conflict):
    """The VM's disk has no room for it; what was written before is there."""

    code: ClassVar[str] = "disk_full"

    def __init__(self, path: str) -> None:
        super().__init__(f"the VM's disk has no room for '{path}'", path=path)


class LimitReached(VMPoolError):
    """A limit of the caller's own; waiting or deleting helps."""

    code: ClassVar[str] = "limit_reached"
    retryable: ClassVar[bool] = True


class QuotaExceeded(LimitReached):
    """The user has as many VMs as allowed."""

    code: ClassVar[str] = "quota_exceeded"

    def __init__(self, limit: int, retry_after: float = 5) -> None:
        super().__init__(
            f"you have {limit} VMs, which is the limit; delete one first",
            limit=limit,
            retry_after=retry_after,
        )


class TooManyExecutions(LimitReached):
    """The VM has as many executions in flight as allowed."""

    code: ClassVar[str] = "too_many_executions"

    def __init__(self, reference: int | str, limit: int, retry_after: float = 1) -> None:
        super().__init__(
            f"VM {reference} already runs {limit} executions at once",
            limit=limit,
            retry_after=retry_after,
        )


class TooManyConnections(LimitReached):
    """The VM has as many connections to its ports as allowed."""

    code: ClassVar[str] = "too_many_connections"

    def __init__(self, reference: int | str, retry_after: float = 1) -> None:
        super().__init__(
            f"as many connections as allowed are open to the ports of VM {reference}", retry_after=retry_after
        )


class TooManyContexts(LimitReached):
    """The VM has as many contexts as allowed."""

    code: ClassVar[str] = "too_many_contexts"

    def __init__(self, reference: int | str, limit: int, retry_after: float = 5) -> None:
        super().__init__(
            f"VM {reference} has {limit} contexts, which is the limit; delete one first",
            limit=limit,
            retry_after=retry_after,
        )


class TooManyCells(LimitReached):
    """As many cells as allowed wait for their turn in the context."""

    code: ClassVar[str] = "too_many_cells"

    def __init__(self, context_id: int, limit: int, retry_after: float = 1) -> None:
        super().__init__(
            f"{limit} cells wait for their turn in context {context_id} already",
            limit=limit,
            retry_after=retry_after,
        )


class RateLimited(LimitReached):
    """More requests, wrong keys or bytes of bodies in a short time than allowed."""

    code: ClassVar[str] = "rate_limited"

    def __init__(self, what: str, retry_after: float) -> None:
        super().__init__(f"too many {what}; slow down", retry_after=retry_after)


class PoolFull(VMPoolError):
    """The host takes no more VMs; `rule` says which limit refused."""

    code: ClassVar[str] = "pool_full"
    retryable: ClassVar[bool] = True

    def __init__(self, rule: str, limit: float, in_use: float, retry_after: float = 10) -> None:
        super().__init__(
            f"the pool is full: {rule} is {in_use:g} of {limit:g}",
            rule=rule,
            limit=limit,
            in_use=in_use,
            retry_after=retry_after,
        )


class StoreFailed(VMPoolError):
    """The database failed: disk full, server gone.  What the call was to record may not be recorded."""

    code: ClassVar[str] = "store_failed"
    retryable: ClassVar[bool] = True


class InfrastructureFailure(VMPoolError):
    """Something of ours or the host's failed; `dispatch` answers "may my code have run?"."""

    code: ClassVar[str] = "infrastructure_failure"
    retryable: ClassVar[bool] = True

    def __init__(self, message: str, *, dispatch: Dispatch = "never_dispatched", **context: object) -> None:
        super().__init__(message, dispatch=dispatch, **context)
        self.dispatch: Dispatch = dispatch


class BackendUnreachable(InfrastructureFailure):
    """The engine behind a backend does not answer."""

    code: ClassVar[str] = "backend_unreachable"


class BackendFailed(InfrastructureFailure):
    """The backend answered and could not do it."""

    code: ClassVar[str] = "backend_failed"


class AgentUnreachable(InfrastructureFailure):
    """The guest agent does not answer, or the connection broke and could not be re-made."""

    code: ClassVar[str] = "agent_unreachable"


class AgentRefused(InfrastructureFailure):
    """The guest agent answered FAILED; `reason` is its code, `errno` the kernel's where given."""

    code: ClassVar[str] = "agent_refused"
    retryable: ClassVar[bool] = False

    def __init__(self, reason: str, message: str, errno: int | None = None) -> None:
        super().__init__(message, dispatch="never_dispatched", reason=reason, errno=errno)
        self.reason = reason
        self.errno = errno


class AgentTooOld(InfrastructureFailure):
    """The VM was born with an agent that does not know this message."""

    code: ClassVar[str] = "agent_too_old"
    retryable: ClassVar[bool] = False

    def __init__(self, needed: int, have: int) -> None:
        super().__init__(
            f"this needs agent generation {needed}, the VM has {have}; recreate the VM",
            needed=needed,
            have=have,
        )


class PortFailed(InfrastructureFailure):
    """What should answer at a port of the VM does not: a program in it, not the pool."""

    code: ClassVar[str] = "port_failed"
    retryable: ClassVar[bool] = False


class NothingListens(PortFailed):
    """No program in the VM accepts connections at this port of its loopback."""

    code: ClassVar[str] = "nothing_listens"
    retryable: ClassVar[bool] = True

    def __init__(self, reference: int | str, port: int) -> None:
        super().__init__(f"nothing listens at port {port} in VM {reference}", port=port)


class BadPortAnswer(PortFailed):
    """The program at this port broke the connection off before it answered, or does not speak HTTP."""

    code: ClassVar[str] = "bad_port_answer"

    def __init__(self, reference: int | str, port: int, problem: str) -> None:
        super().__init__(
            f"what listens at port {port} in VM {reference} {problem}",
            dispatch="outcome_unknown",
            port=port,
        )


class Interrupted(InfrastructureFailure):
    """The request with this Idempotency-Key was begun and nobody knows how far it came."""

    code: ClassVar[str] = "interrupted"
    retryable: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__(
            "the server ended while it worked on the request with this Idempotency-Key; "
            "see what it did, then send a fresh key",
            dispatch="outcome_unknown",
        )
