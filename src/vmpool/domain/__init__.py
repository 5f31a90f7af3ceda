"""What the pool is about, as pure values: standard library only, no I/O, no clock."""

from vmpool.domain.admission import Census, NewVM
from vmpool.domain.code_context import CodeContext
from vmpool.domain.execution import Execution, ExecutionRequest, ExecutionState, Outcome, TerminalSize
from vmpool.domain.language import LANGUAGES, Language, language_named
from vmpool.domain.limits import (
    DEFAULT_CPU_LIMIT,
    DEFAULT_DISK_LIMIT,
    DEFAULT_MEMORY_LIMIT,
    DEFAULT_TIMEOUT,
    MAX_EXECUTION_TIME,
    MAX_TOTAL_VMS,
    MAX_VMS_PER_USER,
    NO_LIMITS,
    Limits,
    ProcessLimits,
)
from vmpool.domain.network import NetworkEntry, NetworkMode, NetworkPolicy, NetworkVerdict
from vmpool.domain.snapshot import Snapshot, SnapshotState
from vmpool.domain.user import ApiKey, Principal, Scope, User
from vmpool.domain.vm import ARROWS, VM, VMState

__all__ = [
    "ARROWS",
    "DEFAULT_CPU_LIMIT",
    "DEFAULT_DISK_LIMIT",
    "DEFAULT_MEMORY_LIMIT",
    "DEFAULT_TIMEOUT",
    "LANGUAGES",
    "MAX_EXECUTION_TIME",
    "MAX_TOTAL_VMS",
    "MAX_VMS_PER_USER",
    "NO_LIMITS",
    "VM",
    "ApiKey",
    "Census",
    "CodeContext",
    "Execution",
    "ExecutionRequest",
    "ExecutionState",
    "Language",
    "Limits",
    "NetworkEntry",
    "NetworkMode",
    "NetworkPolicy",
    "NetworkVerdict",
    "NewVM",
    "Outcome",
    "Principal",
    "ProcessLimits",
    "Scope",
    "Snapshot",
    "SnapshotState",
    "TerminalSize",
    "User",
    "VMState",
    "language_named",
]
