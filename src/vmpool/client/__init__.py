"""The SDK: `AsyncClient` and `Client`, typed results, and errors that mirror the server's codes.

Names are loaded when they are first used, so that importing this costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmpool.client import errors as errors
    from vmpool.client import models as models
    from vmpool.client._async.client import AsyncClient as AsyncClient
    from vmpool.client._async.contexts import AsyncContextHandle as AsyncContextHandle
    from vmpool.client._async.execution import AsyncExecutionHandle as AsyncExecutionHandle
    from vmpool.client._async.handle import AsyncVMHandle as AsyncVMHandle
    from vmpool.client._sync.client import Client as Client
    from vmpool.client._sync.contexts import ContextHandle as ContextHandle
    from vmpool.client._sync.execution import ExecutionHandle as ExecutionHandle
    from vmpool.client._sync.handle import VMHandle as VMHandle
    from vmpool.client.errors import APIError as APIError
    from vmpool.client.errors import ClientError as ClientError
    from vmpool.client.forwards import Forward as Forward
    from vmpool.client.models import VM as VM
    from vmpool.client.models import APIKey as APIKey
    from vmpool.client.models import BatchError as BatchError
    from vmpool.client.models import CellOutput as CellOutput
    from vmpool.client.models import CellResult as CellResult
    from vmpool.client.models import CodeContext as CodeContext
    from vmpool.client.models import Event as Event
    from vmpool.client.models import Execution as Execution
    from vmpool.client.models import FileChange as FileChange
    from vmpool.client.models import FileInfo as FileInfo
    from vmpool.client.models import LogEntry as LogEntry
    from vmpool.client.models import Network as Network
    from vmpool.client.models import NetworkLogEntry as NetworkLogEntry
    from vmpool.client.models import NewAPIKey as NewAPIKey
    from vmpool.client.models import PoolStatus as PoolStatus
    from vmpool.client.models import Share as Share
    from vmpool.client.models import Snapshot as Snapshot
    from vmpool.client.models import Template as Template
    from vmpool.client.models import TemplateBuild as TemplateBuild
    from vmpool.client.models import VMStatus as VMStatus
    from vmpool.client.streaming import OutputPiece as OutputPiece

_EXPORTS = {
    "vmpool.client._async.client": ("AsyncClient",),
    "vmpool.client._async.contexts": ("AsyncContextHandle",),
    "vmpool.client._async.execution": ("AsyncExecutionHandle",),
    "vmpool.client._async.handle": ("AsyncVMHandle",),
    "vmpool.client._sync.client": ("Client",),
    "vmpool.client._sync.contexts": ("ContextHandle",),
    "vmpool.client._sync.execution": ("ExecutionHandle",),
    "vmpool.client._sync.handle": ("VMHandle",),
    "vmpool.client.errors": (
        "APIError",
        "ClientError",
    ),
    "vmpool.client.forwards": ("Forward",),
    "vmpool.client.models": (
        "VM",
        "APIKey",
        "BatchError",
        "Event",
        "CellOutput",
        "CellResult",
        "CodeContext",
        "Execution",
        "FileChange",
        "FileInfo",
        "LogEntry",
        "Network",
        "NetworkLogEntry",
        "NewAPIKey",
        "PoolStatus",
        "Share",
        "Snapshot",
        "Template",
        "TemplateBuild",
        "VMStatus",
    ),
    "vmpool.client.streaming": ("OutputPiece",),
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names}
_MODULES = ("errors", "models")

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
