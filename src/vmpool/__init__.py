"""A self-hosted pool of isolated virtual machines for running code.

::

    vm = await create_vm(name="test-vm", language="python")
    result = await execute_in_vm(vm_id=vm.id, code="print('Hello from VM!')")
    print(result.output)

Names are loaded when they are first used, so that `import vmpool` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vmpool.client._async.client import AsyncClient as AsyncClient
    from vmpool.client._async.handle import AsyncVMHandle as AsyncVMHandle
    from vmpool.client._sync.client import Client as Client
    from vmpool.client._sync.handle import VMHandle as VMHandle
    from vmpool.client.errors import APIError as APIError
    from vmpool.client.errors import ClientError as ClientError
    from vmpool.client.functions import batch_execute as batch_execute
    from vmpool.client.functions import batch_stream as batch_stream
    from vmpool.client.functions import create_vm as create_vm
    from vmpool.client.functions import delete_vm as delete_vm
    from vmpool.client.functions import execute_in_vm as execute_in_vm
    from vmpool.client.functions import get_vm as get_vm
    from vmpool.client.functions import list_vms as list_vms
    from vmpool.client.functions import pool_status as pool_status
    from vmpool.client.functions import restart_vm as restart_vm
    from vmpool.client.functions import restore_vm as restore_vm
    from vmpool.client.functions import snapshot_vm as snapshot_vm
    from vmpool.client.functions import start_vm as start_vm
    from vmpool.client.functions import stop_vm as stop_vm
    from vmpool.client.models import VM as VM
    from vmpool.client.models import BatchError as BatchError
    from vmpool.client.models import Execution as Execution
    from vmpool.client.models import Snapshot as Snapshot

__version__ = "0.1.0"

_EXPORTS = {
    "vmpool.client": ("APIError", "AsyncClient", "AsyncVMHandle", "Client", "ClientError", "VMHandle"),
    "vmpool.client.functions": (
        "batch_execute",
        "batch_stream",
        "create_vm",
        "delete_vm",
        "execute_in_vm",
        "get_vm",
        "list_vms",
        "pool_status",
        "restart_vm",
        "restore_vm",
        "snapshot_vm",
        "start_vm",
        "stop_vm",
    ),
    "vmpool.client.models": ("VM", "BatchError", "Execution", "Snapshot"),
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
