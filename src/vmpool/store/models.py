"""The tables.  `virtual_machines` and `vm_executions` carry the specification's columns by name and type.

Everything else stands beside them.  Times are naive UTC.  Ids are never reused (`sqlite_autoincrement`;
sequences on PostgreSQL), because a VM's id names its machine.  These classes do not leave the package:
the repositories answer with values of `vmpool.domain`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from vmpool.store.ids import RowId
from vmpool.store.text import AnyString, AnyText

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Root of the tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        str: AnyString,
        datetime: DateTime,
        float: Float,
        bool: Boolean,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


class UserRow(Base):
    """An owner of VMs."""

    __tablename__ = "users"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    admin: Mapped[bool]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    max_vms: Mapped[int | None] = mapped_column(Integer)
    events_gone: Mapped[int] = mapped_column(BigInteger, server_default="0")


class ApiKeyRow(Base):
    """A key: the SHA-256 of its secret in hexadecimal, never the secret.  scopes: words between spaces."""

    __tablename__ = "api_keys"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    scopes: Mapped[str]


class AuditRow(Base):
    """What somebody did, or was refused.  Triggers keep it append-only; see the migration."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_at", "at"),
        Index("ix_audit_log_user_id_id", "user_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime]
    user_id: Mapped[int | None] = mapped_column(RowId, ForeignKey("users.id"))
    key_id: Mapped[int | None] = mapped_column(RowId, ForeignKey("api_keys.id"))
    address: Mapped[str | None]
    action: Mapped[str]
    target: Mapped[str | None]
    facts: Mapped[dict[str, Any]]
    status: Mapped[int] = mapped_column(Integer)
    request_id: Mapped[str]


class VirtualMachine(Base):
    """A VM; kept as `deleted` for the sake of its history."""

    __tablename__ = "virtual_machines"
    __table_args__ = (
        Index(
            "uq_virtual_machines_live_name",
            "user_id",
            "name",
            unique=True,
            sqlite_where=text("status <> 'deleted'"),
            postgresql_where=text("status <> 'deleted'"),
        ),
        Index("ix_virtual_machines_user_id_id", "user_id", "id"),
        Index(
            "ix_virtual_machines_live",
            "id",
            sqlite_where=text("status <> 'deleted'"),
            postgresql_where=text("status <> 'deleted'"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"))
    name: Mapped[str]
    status: Mapped[str]
    language: Mapped[str]
    container_id: Mapped[str | None]
    cpu_limit: Mapped[float]
    memory_limit: Mapped[int] = mapped_column(Integer)
    disk_limit: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]

    process_limit: Mapped[int] = mapped_column(Integer)
    template: Mapped[str]
    backend: Mapped[str]
    isolation: Mapped[str]
    generation: Mapped[int] = mapped_column(Integer)
    network: Mapped[str]
    ttl: Mapped[int | None] = mapped_column(Integer)
    idle_timeout: Mapped[int | None] = mapped_column(Integer)
    env: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, Any]]
    warnings: Mapped[list[str]]
    error_reason: Mapped[str | None] = mapped_column(AnyText)
    deleted_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    restored_from: Mapped[int | None] = mapped_column(RowId)
    forked_from: Mapped[int | None] = mapped_column(RowId)
    template_id: Mapped[int | None] = mapped_column(RowId)
    made_from: Mapped[str | None]
    build_id: Mapped[int | None] = mapped_column(RowId)
    idle_pause: Mapped[int | None] = mapped_column(Integer)
    wanted_cpu_limit: Mapped[float | None]
    wanted_memory_limit: Mapped[int | None] = mapped_column(Integer)
    wanted_disk_limit: Mapped[int | None] = mapped_column(Integer)
    wanted_process_limit: Mapped[int | None] = mapped_column(Integer)
    network_policy: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    network_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")


class VMExecution(Base):
    """One execution.  `stored_bytes` is what its texts weigh, for the retention by bytes.

    `output_bytes`, `error_bytes`: how long each stream was.  `output_file`, `error_file`: how much of it lies
    in a file; null where the text is the whole stream, 0 where nothing is there any more.

    The long texts are the last columns of the table, so that a look at the others does not read them.
    """

    __tablename__ = "vm_executions"
    __table_args__ = (
        Index("ix_vm_executions_vm_id_id", "vm_id", "id"),
        Index("ix_vm_executions_executed_at", "executed_at"),
        Index(
            "ix_vm_executions_running",
            "id",
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
        Index(
            "ix_vm_executions_with_file",
            "vm_id",
            "id",
            "output_file",
            "error_file",
            sqlite_where=text("output_file > 0 OR error_file > 0"),
            postgresql_where=text("output_file > 0 OR error_file > 0"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    vm_id: Mapped[int] = mapped_column(RowId, ForeignKey("virtual_machines.id"))
    exit_code: Mapped[int | None] = mapped_column(Integer)
    execution_time: Mapped[float | None]
    executed_at: Mapped[datetime]

    state: Mapped[str]
    language: Mapped[str]
    timeout: Mapped[float]
    background: Mapped[bool] = mapped_column(server_default=false())
    terminal: Mapped[bool] = mapped_column(server_default=false())
    linger: Mapped[float | None]
    timed_out: Mapped[bool]
    oom_killed: Mapped[bool]
    truncated: Mapped[bool]
    build_failed: Mapped[bool] = mapped_column(server_default=false())
    cpu_time: Mapped[float | None]
    max_memory: Mapped[int | None] = mapped_column(BigInteger)
    output_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    error_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    output_file: Mapped[int | None] = mapped_column(BigInteger)
    error_file: Mapped[int | None] = mapped_column(BigInteger)
    stored_bytes: Mapped[int] = mapped_column(BigInteger)
    failure: Mapped[str | None] = mapped_column(AnyText)

    code: Mapped[str] = mapped_column(AnyText)
    output: Mapped[str | None] = mapped_column(AnyText)
    error: Mapped[str | None] = mapped_column(AnyText)


class SnapshotRow(Base):
    """A kept state of a VM's files.  `reference` is what the backend knows it by.

    seal: what the backend compares it with before it is restored; null for one kept before there were any.
    parent_id: the snapshot it came after.  generation: the VM's when it was kept, 0 for one that came as a
    file.
    """

    __tablename__ = "snapshots"
    __table_args__ = (
        Index("uq_snapshots_vm_id_name", "vm_id", "name", unique=True),
        Index(
            "ix_snapshots_unsettled",
            "id",
            sqlite_where=text("state <> 'ready'"),
            postgresql_where=text("state <> 'ready'"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    vm_id: Mapped[int] = mapped_column(RowId, ForeignKey("virtual_machines.id"))
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"), index=True)
    name: Mapped[str]
    state: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    backend: Mapped[str]
    reference: Mapped[str]
    base: Mapped[str]
    created_at: Mapped[datetime]
    seal: Mapped[str | None]
    parent_id: Mapped[int | None] = mapped_column(BigInteger)
    generation: Mapped[int] = mapped_column(default=0, server_default="0")


class TemplateRow(Base):
    """A user's template.  Its files are a snapshot's, which stays as long as a template names it."""

    __tablename__ = "templates"
    __table_args__ = (
        Index(
            "uq_templates_user_id_name",
            "user_id",
            "name",
            unique=True,
            sqlite_where=text("state = 'ready'"),
            postgresql_where=text("state = 'ready'"),
        ),
        Index(
            "ix_templates_unsettled",
            "id",
            sqlite_where=text("state <> 'ready'"),
            postgresql_where=text("state <> 'ready'"),
        ),
        Index(
            "uq_templates_shared_name",
            "name",
            unique=True,
            sqlite_where=text("shared"),
            postgresql_where=text("shared"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"), index=True)
    name: Mapped[str]
    state: Mapped[str]
    description: Mapped[str] = mapped_column(AnyText)
    language: Mapped[str]
    base: Mapped[str]
    parent_id: Mapped[int | None] = mapped_column(RowId)
    parent: Mapped[str]
    backend: Mapped[str]
    disk: Mapped[int] = mapped_column(Integer)
    vm_id: Mapped[int] = mapped_column(RowId)
    snapshot_id: Mapped[int] = mapped_column(RowId, index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    shared: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime]
    build_id: Mapped[int | None] = mapped_column(RowId)


class TemplateBuildRow(Base):
    """A template that is, or was, built.  `steps` is what is shown of them."""

    __tablename__ = "template_builds"
    __table_args__ = (
        Index("ix_template_builds_user_id_id", "user_id", "id"),
        Index(
            "ix_template_builds_building",
            "id",
            sqlite_where=text("state = 'building'"),
            postgresql_where=text("state = 'building'"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"))
    name: Mapped[str]
    description: Mapped[str] = mapped_column(AnyText)
    base: Mapped[str]
    language: Mapped[str | None]
    steps: Mapped[list[str]]
    replace: Mapped[bool]
    state: Mapped[str]
    step: Mapped[int] = mapped_column(Integer)
    failure: Mapped[str | None] = mapped_column(AnyText)
    template_id: Mapped[int | None] = mapped_column(RowId)
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class TemplateLayerRow(Base):
    """What is kept after a step of a build, for those that begin as it did."""

    __tablename__ = "template_layers"
    __table_args__ = (
        Index("uq_template_layers_user_id_digest", "user_id", "digest", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"))
    digest: Mapped[str]
    snapshot_id: Mapped[int] = mapped_column(RowId, index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    used_at: Mapped[datetime]


class ContextRow(Base):
    """A kernel in a VM.  `failure` says why it is dead, null for one that may live."""

    __tablename__ = "contexts"
    __table_args__ = (Index("ix_contexts_vm_id_id", "vm_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    vm_id: Mapped[int] = mapped_column(RowId, ForeignKey("virtual_machines.id"))
    language: Mapped[str]
    cwd: Mapped[str | None] = mapped_column(AnyText)
    env: Mapped[dict[str, Any]] = mapped_column(JSON)
    starts: Mapped[int] = mapped_column(Integer)
    failure: Mapped[str | None] = mapped_column(AnyText)
    created_at: Mapped[datetime]


class NetworkLogRow(Base):
    """One connection a VM asked for, written when it had ended."""

    __tablename__ = "network_log"
    __table_args__ = (
        Index("ix_network_log_vm_id_id", "vm_id", "id"),
        Index("ix_network_log_at", "at"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    vm_id: Mapped[int] = mapped_column(RowId, ForeignKey("virtual_machines.id"))
    at: Mapped[datetime]
    via: Mapped[str]
    host: Mapped[str]
    port: Mapped[int] = mapped_column(Integer)
    verdict: Mapped[str]
    rule: Mapped[str]
    address: Mapped[str | None]
    bytes_up: Mapped[int] = mapped_column(BigInteger)
    bytes_down: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[float]
    skipped: Mapped[int] = mapped_column(Integer)


class EventRow(Base):
    """One change.  No foreign keys but the user's: events may outlive what they are about."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_user_id_id", "user_id", "id"),
        Index("ix_events_at", "at"),
    )

    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    at: Mapped[datetime]
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"))
    kind: Mapped[str]
    vm_id: Mapped[int | None] = mapped_column(RowId)
    execution_id: Mapped[int | None] = mapped_column(RowId)
    snapshot_id: Mapped[int | None] = mapped_column(RowId)
    facts: Mapped[dict[str, Any]]


class WebhookRow(Base):
    """Where a user's events are sent.  `salt` makes its secret, with the server's key."""

    __tablename__ = "webhooks"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"), index=True)
    url: Mapped[str]
    types: Mapped[list[str]]
    salt: Mapped[str]
    position: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_because: Mapped[str | None]


class DeliveryRow(Base):
    """One try to send something to a webhook."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    webhook_id: Mapped[int] = mapped_column(RowId, ForeignKey("webhooks.id"))
    event_id: Mapped[int | None] = mapped_column(BigInteger)
    type: Mapped[str]
    attempt: Mapped[int] = mapped_column(Integer)
    stage: Mapped[str]
    at: Mapped[datetime]
    seconds: Mapped[float]
    status: Mapped[int | None] = mapped_column(Integer)
    problem: Mapped[str | None]


class SecretRow(Base):
    """A secret.  sealed: its value, encrypted and in Base64.  vm_id: 0 for all of the user's VMs."""

    __tablename__ = "secrets"
    __table_args__ = (
        Index("uq_secrets_user_id_vm_id_name", "user_id", "vm_id", "name", unique=True),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"))
    vm_id: Mapped[int] = mapped_column(RowId)
    name: Mapped[str]
    sealed: Mapped[str]
    hosts: Mapped[list[str]] = mapped_column(server_default="[]")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class IdempotencyRow(Base):
    """One Idempotency-Key of one user: claimed while `status` is null, answered once it is there.

    The second index has all that bounding a user's keys looks at, so that no answer is read for it.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        Index("ix_idempotency_keys_created_at", "created_at"),
        Index("ix_idempotency_keys_user_id_created_at", "user_id", "created_at", "key", "stored_bytes"),
    )

    user_id: Mapped[int] = mapped_column(RowId, ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str]
    body_hash: Mapped[str]
    status: Mapped[int | None] = mapped_column(Integer)
    body: Mapped[str | None] = mapped_column(AnyText)
    created_at: Mapped[datetime]
    stored_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
