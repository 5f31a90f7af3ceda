"""What goes over the wire: one Pydantic model for each request body and each answer.

`spec/openapi.json` is rendered from these.  Times are RFC 3339 in UTC with `Z`.  Answers may gain fields,
never lose them; requests refuse fields they do not know, so that a typing error is heard.
"""

from vmpool.api.schemas.base import (
    Answer,
    Request,
)
from vmpool.api.schemas.contexts import (
    CellOutput,
    CellResult,
    CodeContext,
    CreateContext,
    RunCell,
)
from vmpool.api.schemas.errors import (
    FieldError,
    Problem,
)
from vmpool.api.schemas.events import Event
from vmpool.api.schemas.executions import (
    BatchError,
    BatchExecuteRequest,
    CancelExecution,
    ExecuteRequest,
    Execution,
    OutputEvent,
    ProcessLimits,
    Runnable,
    SignalExecution,
    SocketMessage,
    StdinPosition,
    TerminalSize,
    WriteStdin,
)
from vmpool.api.schemas.files import (
    FileInfo,
    RefusedFile,
    UnpackedTree,
)
from vmpool.api.schemas.network import (
    Network,
    NetworkLimits,
    NetworkLogEntry,
    NetworkPolicy,
    NetworkUse,
)
from vmpool.api.schemas.pool import (
    BackendStatus,
    Health,
    HostStatus,
    PoolLimits,
    PoolStatus,
    PoolUse,
    Readiness,
    WarmPoolStatus,
)
from vmpool.api.schemas.ports import (
    Share,
    SharePort,
)
from vmpool.api.schemas.secrets import (
    Secret,
    SetSecret,
)
from vmpool.api.schemas.snapshots import (
    CreateSnapshot,
    ForkRequest,
    RestoreRequest,
    Snapshot,
)
from vmpool.api.schemas.template_builds import BuildOutput, BuildStep, TemplateBuild
from vmpool.api.schemas.templates import ChangeTemplate, CreateTemplate, Template
from vmpool.api.schemas.users import (
    APIKey,
    AuditEntry,
    CreateKey,
    CreateUser,
    NewAPIKey,
    NewUser,
    RotateKey,
    UpdateUser,
    Use,
    User,
)
from vmpool.api.schemas.vms import (
    VM,
    ChangeLimits,
    CreateVM,
    LogEntry,
    VMStatus,
)
from vmpool.api.schemas.webhooks import (
    CreateWebhook,
    Delivery,
    NewWebhook,
    UpdateWebhook,
    Webhook,
)

__all__ = [
    "VM",
    "APIKey",
    "Answer",
    "AuditEntry",
    "BackendStatus",
    "BatchError",
    "BatchExecuteRequest",
    "BuildOutput",
    "BuildStep",
    "CancelExecution",
    "CellOutput",
    "CellResult",
    "ChangeLimits",
    "ChangeTemplate",
    "CodeContext",
    "CreateContext",
    "CreateKey",
    "CreateSnapshot",
    "CreateTemplate",
    "CreateUser",
    "CreateVM",
    "CreateWebhook",
    "Delivery",
    "Event",
    "ExecuteRequest",
    "Execution",
    "FieldError",
    "FileInfo",
    "ForkRequest",
    "Health",
    "HostStatus",
    "LogEntry",
    "Network",
    "NetworkLimits",
    "NetworkLogEntry",
    "NetworkPolicy",
    "NetworkUse",
    "NewAPIKey",
    "NewUser",
    "NewWebhook",
    "OutputEvent",
    "PoolLimits",
    "PoolStatus",
    "PoolUse",
    "Problem",
    "ProcessLimits",
    "Readiness",
    "RefusedFile",
    "Request",
    "RestoreRequest",
    "RotateKey",
    "RunCell",
    "Runnable",
    "Secret",
    "SetSecret",
    "Share",
    "SharePort",
    "SignalExecution",
    "Snapshot",
    "SocketMessage",
    "StdinPosition",
    "Template",
    "TemplateBuild",
    "TerminalSize",
    "UnpackedTree",
    "UpdateUser",
    "UpdateWebhook",
    "Use",
    "User",
    "VMStatus",
    "WarmPoolStatus",
    "Webhook",
    "WriteStdin",
]
