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
    from vmpool.client._async.handle import AsyncVMHandle as AsyncVMHandle
    from vmpool.client._sync.client import Client as Client
    from vmpool.client._sync.handle import VMHandle as VMHandle
    from vmpool.client.errors import APIError as APIError
    from vmpool.client.errors import ClientError as ClientError

_HOMES = {
    "APIError": "vmpool.client.errors",
    "AsyncClient": "vmpool.client._async.client",
    "AsyncVMHandle": "vmpool.client._async.handle",
    "Client": "vmpool.client._sync.client",
    "ClientError": "vmpool.client.errors",
    "VMHandle": "vmpool.client._sync.handle",
}

__all__ = [
    "APIError",
    "AsyncClient",
    "AsyncVMHandle",
    "Client",
    "ClientError",
    "VMHandle",
    "errors",
    "models",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in {"errors", "models"}:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
