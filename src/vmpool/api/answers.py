"""From the domain's values to the wire models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import overload

from pydantic import TypeAdapter
from starlette.responses import Response

from vmpool import __version__, domain
from vmpool.api.errors import problem_of
from vmpool.api.schemas import (
    VM,
    Answer,
    APIKey,
    AuditEntry,
    BackendStatus,
    BatchError,
    Delivery,
    Event,
    Execution,
    HostStatus,
    LogEntry,
    Network,
    NetworkLimits,
    NetworkLogEntry,
    NetworkPolicy,
    NetworkUse,
    NewWebhook,
    PoolLimits,
    PoolStatus,
    PoolUse,
    Secret,
    Snapshot,
    Template,
    TemplateBuild,
    Use,
    User,
    VMStatus,
    WarmPoolStatus,
    Webhook,
)
from vmpool.domain import event as domain_event
from vmpool.domain import secret as domain_secret
from vmpool.domain import webhook as domain_webhook
from vmpool.domain.audit import AuditEntry as AuditEntryValue
from vmpool.domain.template import Template as TemplateValue
from vmpool.domain.template_build import Build
from vmpool.pool import feed, status
from vmpool.pool.batch import Item, ItemError
from vmpool.pool.networks import Network as PoolNetwork

_LOG = TypeAdapter(list[LogEntry])

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: dict[int | str, dict[str, object]] = {
    "4XX": {"description": "The request was refused; `code` says why.", "content": _PROBLEM},
    "5XX": {"description": "The server or its host failed, or the pool is full.", "content": _PROBLEM},
}
"""What any operation may answer beside its result; see docs/errors.md."""

_RETRY_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}


def refusals(**named: str) -> dict[int | str, dict[str, object]]:
    """For an operation's documentation: `e429="why"` and the like, beside PROBLEMS."""
    found: dict[int | str, dict[str, object]] = {}
    for name, why in named.items():
        status = int(name.removeprefix("e"))
        found[status] = {"description": why, "content": _PROBLEM}
        if status in (429, 503):
            found[status]["headers"] = _RETRY_AFTER
    return found


def send(answer: Answer, status: int = 200) -> Response:
    """An answer already written out: it spares the framework's second look at our own values."""
    return Response(_json(answer), status, media_type="application/json")


def send_all(answers: Sequence[Answer], status: int = 200) -> Response:
    """Several of them, as an array."""
    content = b"[%b]" % b",".join(map(_json, answers))
    return Response(content, status, media_type="application/json")


def _json(answer: Answer) -> bytes:
    return answer.__pydantic_serializer__.to_json(answer)


@overload
def stamp(at: datetime) -> datetime: ...
@overload
def stamp(at: datetime | None) -> datetime | None: ...
def stamp(at: datetime | None) -> datetime | None:
    """A naive UTC time as one that is sent with `Z`."""
    return None if at is None else at.replace(tzinfo=UTC)


def vm(of: domain.VM) -> VM:
    """One virtual machine."""
    return VM(
        id=of.id,
        user_id=of.user_id,
        name=of.name,
        status=of.state,
        language=of.language,
        container_id=of.container_id,
        cpu_limit=of.limits.cpu,
        memory_limit=of.limits.memory,
        disk_limit=of.limits.disk,
        process_limit=of.limits.processes,
        created_at=stamp(of.created_at),
        started_at=stamp(of.started_at),
        stopped_at=stamp(of.stopped_at),
        template=of.made_from or of.template,
        template_id=of.template_id,
        backend=of.backend,
        isolation=of.isolation,
        network=of.network,
        ttl=of.ttl,
        idle_timeout=of.idle_timeout,
        idle_pause=of.idle_pause,
        expires_at=None if of.ttl is None else stamp(of.created_at + timedelta(seconds=of.ttl)),
        env_names=sorted(of.env),
        labels=dict(of.labels),
        warnings=list(of.warnings),
        forked_from=of.forked_from,
        error=of.error,
    )


def execution(of: domain.Execution) -> Execution:
    """One run of code."""
    begun = partial(
        Execution,
        id=of.id,
        vm_id=of.vm_id,
        code=of.code,
        executed_at=stamp(of.executed_at),
        state=of.state,
        language=of.language,
        failure=of.failure,
        background=of.background,
        terminal=of.terminal,
    )
    outcome = of.outcome
    if outcome is None:
        return begun()
    return begun(  # in one piece: a field that is set afterwards takes a microsecond or two
        output=outcome.output,
        error=outcome.error,
        exit_code=outcome.exit_code,
        execution_time=outcome.execution_time,
        timed_out=outcome.timed_out,
        oom_killed=outcome.oom_killed,
        truncated=outcome.truncated,
        build_failed=outcome.build_failed,
        output_bytes=outcome.output_bytes,
        error_bytes=outcome.error_bytes,
        dropped=outcome.dropped,
        cpu_time=outcome.cpu_time,
        max_memory=outcome.max_memory,
    )


def accepted(of: domain.Execution) -> Response:
    """An execution that has begun, and where to ask for it."""
    answer = send(execution(of), 202)
    answer.headers["Location"] = f"/api/vms/{of.vm_id}/executions/{of.id}"
    return answer


def snapshot(of: domain.Snapshot) -> Snapshot:
    """The files of a VM at one moment."""
    return Snapshot(
        id=of.id,
        vm_id=of.vm_id,
        name=of.name,
        size=of.size,
        created_at=stamp(of.created_at),
        parent_id=of.parent_id,
        backend=of.backend,
        base=of.base,
        sealed=of.seal is not None,
    )


def template(of: TemplateValue) -> Template:
    """A user's template."""
    return Template(
        id=of.id,
        user_id=of.user_id,
        name=of.name,
        description=of.description,
        language=of.language,
        base=of.base,
        parent=of.parent,
        parent_id=of.parent_id,
        backend=of.backend,
        disk=of.disk,
        size=of.size,
        shared=of.shared,
        created_at=stamp(of.created_at),
    )


def template_build(of: Build) -> TemplateBuild:
    """A template on its way."""
    return TemplateBuild(
        id=of.id,
        name=of.name,
        description=of.description,
        base=of.base,
        steps=list(of.steps),
        done=of.step,
        state=of.state,
        failure=of.failure,
        template_id=of.template_id,
        created_at=stamp(of.created_at),
        ended_at=stamp(of.ended_at),
    )


def begun(of: Build) -> Response:
    """A build that has begun, and where to ask for it."""
    answer = send(template_build(of), 202)
    answer.headers["Location"] = f"/api/template-builds/{of.id}"
    return answer


def event(of: domain_event.Event) -> Event:
    """A change."""
    change = of.change
    return Event(
        id=of.id,
        time=stamp(change.at),
        type=change.kind,
        vm_id=change.vm_id,
        execution_id=change.execution_id,
        snapshot_id=change.snapshot_id,
        facts=dict(change.facts),
    )


def secret(of: domain_secret.Secret) -> Secret:
    """A secret's name."""
    return Secret(
        id=of.id,
        name=of.name,
        vm_id=of.vm_id,
        hosts=list(of.hosts),
        created_at=stamp(of.created_at),
        updated_at=stamp(of.updated_at),
    )


def webhook(of: domain_webhook.Webhook) -> Webhook:
    """Where events are sent."""
    return Webhook(
        id=of.id,
        url=of.url,
        types=list(of.types),
        enabled=of.disabled_at is None,
        created_at=stamp(of.created_at),
        failing_since=stamp(of.failing_since),
        disabled_because=of.disabled_because,
    )


def new_webhook(of: domain_webhook.Webhook, secret: str) -> NewWebhook:
    """The same with its secret."""
    return NewWebhook(**webhook(of).model_dump(), secret=secret)


def delivery(of: domain_webhook.Delivery) -> Delivery:
    """One try to send something."""
    return Delivery.model_validate({**asdict(of), "time": stamp(of.at)})


def user(of: domain.User) -> User:
    """A user of the pool."""
    return User(
        id=of.id,
        name=of.name,
        admin=of.admin,
        created_at=stamp(of.created_at),
        disabled_at=stamp(of.disabled_at),
        max_vms=of.max_vms,
    )


def use(of: domain.User, taken: status.UserUse) -> Use:
    """What a user takes of the pool."""
    return Use(user=user(of), **asdict(taken))


def audit_entry(of: AuditEntryValue) -> AuditEntry:
    """Something that was done, or refused."""
    act = of.act
    return AuditEntry(
        id=of.id,
        time=stamp(of.at),
        user_id=act.user_id,
        user=of.user,
        key_id=act.key_id,
        address=act.address,
        action=act.action,
        target=act.target,
        facts=dict(act.facts),
        status=act.status,
        request_id=act.request_id,
    )


def api_key(of: domain.ApiKey) -> APIKey:
    """An API key without its secret."""
    return APIKey(
        id=of.id,
        user_id=of.user_id,
        name=of.name,
        prefix=of.prefix,
        created_at=stamp(of.created_at),
        expires_at=stamp(of.expires_at),
        last_used_at=stamp(of.last_used_at),
        scopes=sorted(of.scopes),
    )


def log_entry(of: feed.LogEntry) -> LogEntry:
    """A piece of output."""
    return LogEntry(
        execution_id=of.execution_id, time=stamp(of.at), stream=of.stream, text=of.data, skipped=of.skipped
    )


def log_event(of: feed.LogEntry) -> bytes:
    """A piece of output as an event."""
    return b"data: %b\n\n" % _json(log_entry(of))  # one line: one `data:` is enough


def send_logs(entries: Sequence[feed.LogEntry]) -> Response:
    """The output so far."""
    content = _LOG.dump_json([log_entry(entry) for entry in entries])
    return Response(content, media_type="application/json")


def send_batch(items: Sequence[Item], request_id: str) -> Response:
    """One item for each VM: what ran, or why nothing did."""
    content = b"[%b]" % b",".join(batch_item(item, request_id) for item in items)
    return Response(content, media_type="application/json")


def batch_item(of: Item, request_id: str) -> bytes:
    """One item of a batch, written out."""
    if isinstance(of, ItemError):
        return _json(BatchError(vm_id=of.reference, error=problem_of(of.error, request_id)))
    return _json(execution(of))


def network(of: PoolNetwork) -> Network:
    """What a VM may reach, and what it has used."""
    limits, asked = of.limits, of.vm.network_policy
    return Network(
        mode=domain.NetworkMode(of.vm.network),
        policy=NetworkPolicy(**{**asdict(asked), "allow": list(asked.allow), "deny": list(asked.deny)}),
        limits=NetworkLimits(
            max_connections=limits.max_connections,
            connections_per_second=limits.connections_per_second,
            max_bytes=limits.max_bytes,
        ),
        use=NetworkUse(**asdict(of.totals), bytes_used=of.bytes_used),
    )


def network_entry(of: domain.NetworkEntry) -> NetworkLogEntry:
    """One connection that has ended."""
    return NetworkLogEntry.model_validate({**asdict(of), "time": stamp(of.at)})


def vm_status(of: status.VMStatus) -> VMStatus:
    """Live figures of a VM."""
    return VMStatus(
        id=of.vm.id,
        name=of.vm.name,
        status=of.vm.state,
        uptime=of.uptime,
        cpu_percent=of.cpu_percent,
        cpu_seconds=of.usage.cpu_seconds,
        cpu_limit=of.vm.limits.cpu,
        memory_bytes=of.usage.memory_bytes,
        memory_peak_bytes=of.usage.memory_peak_bytes,
        memory_limit=of.vm.limits.memory,
        disk_bytes=of.usage.disk_bytes,
        disk_limit=of.vm.limits.disk,
        processes=of.usage.processes,
        oom_kills=of.usage.oom_kills,
        executions=of.executions,
    )


def pool_status(of: status.PoolStatus, backend_reason: str, quota: int | None) -> PoolStatus:
    """Limits, use, backend and host.  quota: the caller's own, where an administrator has set one."""
    backend = of.backend
    limits = PoolLimits(**asdict(of.limits), cpu=None)
    if quota is not None:
        limits.max_vms_per_user = quota
    return PoolStatus(
        limits=limits,
        use=PoolUse(
            vms=of.use.of_user,
            total_vms=of.use.vms,
            cpu=of.use.cpu,
            memory=of.use.memory,
            disk=of.use.disk,
            executions=of.executions,
        ),
        states=dict(of.states),
        backend=BackendStatus(
            name=backend.name,
            version=backend.version,
            reason=backend_reason,
            isolation=of.isolation,
            isolations=list(of.isolations),
            grade=backend.grade,
            enforcement=dict(backend.enforcement),
            soft_limits={isolation: list(soft) for isolation, soft in backend.soft_limits.items()},
            capabilities=list(backend.capabilities),
            templates=list(backend.templates),
        ),
        host=HostStatus(**asdict(of.host)),
        warm_pool=WarmPoolStatus(**asdict(of.warm_pool), hit_rate=of.warm_pool.hit_rate),
        version=__version__,
    )
