"""Every error a client can raise, as one tree; the server's codes are mirrored name for name.

::

    ClientError
    ├── NoServer                no server is configured and a local one could not be started
    ├── ServerUnreachable       no answer; `dispatch` says whether the request may have been carried out
    ├── ForwardingFailed        no port of this machine could be made to lead to a VM's
    ├── SetupFailed             what was to prepare the VMs of a run of jobs did not exit with 0
    ├── UnexpectedAnswer        something answered that is not a vmpool server
    └── APIError                the server answered with an error
        ├── InvalidRequest           422  IdempotencyMismatch · Unsupported · IsolationUnavailable
        │                                 RangeNotSatisfiable (416) · SnapshotFileRefused
        ├── Unauthenticated          401  ShareInvalid
        ├── Forbidden                403
        ├── NotFound                 404  VMNotFound · ExecutionNotFound · SnapshotNotFound
        │                                 TemplateNotFound · KeyNotFound · OutputNotKept · PathNotFound
        │                                 ContextNotFound
        ├── Conflict                 409  NameTaken · IllegalTransition · VMNotRunning · ExecutionEnded
        │                                 SnapshotMismatch · FileRefused · FileChanged (412) · DiskFull (507)
        │                                 ContextDead · SnapshotDamaged
        ├── LimitReached             429  QuotaExceeded · TooManyExecutions · TooManyConnections
        │                                 TooManyContexts · TooManyCells
        ├── PoolFull                 503
        ├── StoreFailed              500
        ├── InfrastructureFailure    502  BackendUnreachable · BackendFailed · AgentUnreachable
        │                                 AgentRefused · AgentTooOld · Interrupted
        │                                 PortFailed: NothingListens · BadPortAnswer
        └── InternalError            500

A code this version does not know becomes the family that its HTTP status names, with `code` as sent.
A program that fails, times out or is killed is a result and never raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

Dispatch = Literal["never_dispatched", "outcome_unknown"]
"""Whether what was asked may have happened although it failed."""


class ClientError(Exception):
    """Root of the tree.

    message: one sentence.  retryable: whether the same call may succeed later.  dispatch: for failures of
    machinery, whether the code may have run.  retry_after: seconds, where the server named them.
    """

    code: str = "client_error"
    retryable: bool = False
    dispatch: Dispatch | None = None
    retry_after: float | None = None
    request_id: str | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NoServer(ClientError):
    """No server is configured, and a local one is not there and could not be started."""

    code = "no_server"


class ServerUnreachable(ClientError):
    """The connection failed or broke before the answer was there."""

    code = "server_unreachable"
    retryable = True

    def __init__(self, url: str, problem: str, dispatch: Dispatch) -> None:
        super().__init__(f"no answer from {url}: {problem}")
        self.url = url
        self.dispatch = dispatch


class ForwardingFailed(ClientError):
    """No port of this machine could be made to lead to the VM's."""

    code = "forwarding_failed"


class SetupFailed(ClientError):
    """A VM of a run of jobs could not be prepared for them; `message` has what the command said last.

    retryable: its machine was lost meanwhile.
    """

    code = "setup_failed"

    def __init__(self, message: str, *, lost: bool) -> None:
        super().__init__(message)
        self.retryable = lost


class UnexpectedAnswer(ClientError):
    """An answer that no vmpool server gives: most likely another service listens at this address."""

    code = "unexpected_answer"


class APIError(ClientError):
    """The server answered with an error.  `context` holds the facts of the occurrence, `status` is HTTP's."""

    wire_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        retryable: bool = False,
        context: Mapping[str, object] | None = None,
        request_id: str | None = None,
        dispatch: Dispatch | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retryable = retryable
        self.context: Mapping[str, object] = context or {}
        self.request_id = request_id
        self.dispatch = dispatch
        self.retry_after = retry_after


class InvalidRequest(APIError):
    """A field is wrong; `field` names it."""

    wire_code = "invalid_request"

    @property
    def field(self) -> str | None:
        """The name of the wrong field, where the server named one."""
        value = self.context.get("field")
        return value if isinstance(value, str) else None


class SnapshotFileRefused(InvalidRequest):
    """The file is no snapshot, is cut short or damaged, or holds what none may hold."""

    wire_code = "snapshot_file_refused"


class IdempotencyMismatch(InvalidRequest):
    """The same Idempotency-Key came with another body."""

    wire_code = "idempotency_mismatch"


class Unsupported(InvalidRequest):
    """The backend that holds the VM lacks this capability."""

    wire_code = "unsupported"


class IsolationUnavailable(Unsupported):
    """The server has no such isolation; `context["offered"]` lists what it has."""

    wire_code = "isolation_unavailable"


class RangeNotSatisfiable(InvalidRequest):
    """Bytes past the end of an output were asked for."""

    wire_code = "range_not_satisfiable"


class LimitsNotHard(Unsupported):
    """Hard limits were demanded and the server's host cannot hold those that `context["soft"]` lists."""

    wire_code = "limits_not_hard"


class Unauthenticated(APIError):
    """No key, or one that is unknown, revoked or expired."""

    wire_code = "unauthenticated"


class ShareInvalid(Unauthenticated):
    """A share link that is none, has expired, or was revoked."""

    wire_code = "share_invalid"


class Forbidden(APIError):
    """The key is valid and lacks the right."""

    wire_code = "forbidden"


class InsufficientScope(Forbidden):
    """The key is valid and was made without the scope this needs."""

    wire_code = "insufficient_scope"


class UserDisabled(Forbidden):
    """The key is valid and an administrator has disabled its user."""

    wire_code = "user_disabled"


class NotFound(APIError):
    """No such thing among the caller's."""

    wire_code = "not_found"


class VMNotFound(NotFound):
    """No such VM among the caller's."""

    wire_code = "vm_not_found"


class ExecutionNotFound(NotFound):
    """No such execution in this VM."""

    wire_code = "execution_not_found"


class OutputNotKept(NotFound):
    """The execution is there, but its output is not kept as it was written."""

    wire_code = "output_not_kept"


class SnapshotNotFound(NotFound):
    """No such snapshot of this VM."""

    wire_code = "snapshot_not_found"


class TemplateNotFound(NotFound):
    """No such template on this server's backend."""

    wire_code = "template_not_found"


class BuildNotFound(NotFound):
    """No such build of a template."""

    wire_code = "build_not_found"


class KeyNotFound(NotFound):
    """No such API key."""

    wire_code = "key_not_found"


class UserNotFound(NotFound):
    """No such user."""

    wire_code = "user_not_found"


class PathNotFound(NotFound):
    """No file or directory of this path in the VM, as far as its user can see."""

    wire_code = "path_not_found"


class SecretNotFound(NotFound):
    """No such secret of yours for this VM."""

    wire_code = "secret_not_found"


class WebhookNotFound(NotFound):
    """No such webhook of yours."""

    wire_code = "webhook_not_found"


class EventsGone(NotFound):
    """Events after this one are not kept any more: look at everything once and go on from now."""

    wire_code = "events_gone"


class ContextNotFound(NotFound):
    """No such context of this VM."""

    wire_code = "context_not_found"


class Conflict(APIError):
    """The request is right and the thing's present state forbids it."""

    wire_code = "conflict"


class NameTaken(Conflict):
    """The user already has a VM of this name."""

    wire_code = "name_taken"


class TooManySecrets(Conflict):
    """You have as many secrets as allowed."""

    wire_code = "too_many_secrets"


class TooManyWebhooks(Conflict):
    """You have as many webhooks as allowed."""

    wire_code = "too_many_webhooks"


class BuildEnded(Conflict):
    """The build of a template has ended already."""

    wire_code = "build_ended"


class BuildFailed(Conflict):
    """A step of a template's build did not do what it should."""

    wire_code = "build_failed"


class TooManyTemplates(Conflict):
    """You have as many templates as allowed, or as many bytes in them."""

    wire_code = "too_many_templates"


class IllegalTransition(Conflict):
    """The VM's state does not allow this verb."""

    wire_code = "illegal_transition"


class VMNotRunning(Conflict):
    """The verb needs a running VM."""

    wire_code = "vm_not_running"


class ExecutionEnded(Conflict):
    """The verb needs an execution that runs, or one whose standard input is open."""

    wire_code = "execution_ended"


class ContextDead(Conflict):
    """The context's kernel has ended, and with it all it remembered; `context["failure"]` says why."""

    wire_code = "context_dead"


class SnapshotMismatch(Conflict):
    """The snapshot stands on a base that the host no longer has."""

    wire_code = "snapshot_mismatch"


class SnapshotTooLarge(Conflict):
    """The VM's files, holes counted as data, are more than its disk."""

    wire_code = "snapshot_too_large"


class SnapshotDamaged(Conflict):
    """What is stored of the snapshot is not what was kept; nothing was changed."""

    wire_code = "snapshot_damaged"


class FileRefused(Conflict):
    """The VM's own kernel refused it; `context["reason"]` is permission, not_a_file, exists and so on."""

    wire_code = "file_refused"


class FileChanged(Conflict):
    """The file is not as the request says it must be: its ETag, its size or its absence."""

    wire_code = "file_changed"


class DiskFull(Conflict):
    """The VM's disk has no room for it; what was written before is there."""

    wire_code = "disk_full"


class LimitReached(APIError):
    """A limit of the caller's own; waiting or deleting helps."""

    wire_code = "limit_reached"


class QuotaExceeded(LimitReached):
    """The user has as many VMs as allowed."""

    wire_code = "quota_exceeded"


class TooManyExecutions(LimitReached):
    """The VM has as many executions in flight as allowed."""

    wire_code = "too_many_executions"


class TooManyConnections(LimitReached):
    """The VM has as many connections to its ports as allowed."""

    wire_code = "too_many_connections"


class TooManyContexts(LimitReached):
    """The VM has as many contexts as allowed."""

    wire_code = "too_many_contexts"


class TooManyCells(LimitReached):
    """As many cells as allowed wait for their turn in the context."""

    wire_code = "too_many_cells"


class RateLimited(LimitReached):
    """More requests, wrong keys or bytes of bodies in a short time than allowed."""

    wire_code = "rate_limited"


class PoolFull(APIError):
    """The host takes no more VMs."""

    wire_code = "pool_full"


class StoreFailed(APIError):
    """The server's database failed; what the call was to record may not be recorded."""

    wire_code = "store_failed"


class InfrastructureFailure(APIError):
    """Something of the server's or its host's failed; `dispatch` answers "may my code have run?"."""

    wire_code = "infrastructure_failure"


class BackendUnreachable(InfrastructureFailure):
    """The engine behind the VMs does not answer the server."""

    wire_code = "backend_unreachable"


class BackendFailed(InfrastructureFailure):
    """The engine behind the VMs answered and could not do it."""

    wire_code = "backend_failed"


class AgentUnreachable(InfrastructureFailure):
    """The agent inside the VM does not answer the server."""

    wire_code = "agent_unreachable"


class AgentRefused(InfrastructureFailure):
    """The agent inside the VM could not do it."""

    wire_code = "agent_refused"


class AgentTooOld(InfrastructureFailure):
    """The VM was born with an agent that does not know this."""

    wire_code = "agent_too_old"


class PortFailed(InfrastructureFailure):
    """What should answer at a port of the VM does not: a program in it, not the server."""

    wire_code = "port_failed"


class NothingListens(PortFailed):
    """No program in the VM accepts connections at this port."""

    wire_code = "nothing_listens"


class BadPortAnswer(PortFailed):
    """The program at this port broke the connection off, or does not speak HTTP."""

    wire_code = "bad_port_answer"


class Interrupted(InfrastructureFailure):
    """The server ended while it worked on the request with this idempotency key."""

    wire_code = "interrupted"


class InternalError(APIError):
    """A fault of the server; `request_id` finds it in the server's log."""

    wire_code = "internal"


def _tree(root: type[APIError]) -> dict[str, type[APIError]]:
    found = {root.wire_code: root} if root.wire_code else {}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE: Mapping[str, type[APIError]] = _tree(APIError)
"""The class of every code that this version knows."""

_FAMILY: Mapping[int, type[APIError]] = {
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    429: LimitReached,
    500: InternalError,
    507: Conflict,
}


def error_class(code: str, status: int) -> type[APIError]:
    """The class for `code`; for an unknown code the family that the HTTP status names."""
    if code in BY_CODE:
        return BY_CODE[code]
    return _FAMILY.get(status, InvalidRequest if status < 500 else InfrastructureFailure)
