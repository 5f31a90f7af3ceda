"""The public surface, what it costs to import, and the generated half of the client."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vmpool
import vmpool.client

ROOT = Path(__file__).parents[3]

PUBLIC = {
    "APIError",
    "AsyncClient",
    "AsyncVMHandle",
    "BatchError",
    "Client",
    "ClientError",
    "Execution",
    "Snapshot",
    "VM",
    "VMHandle",
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
}
PUBLIC_OF_CLIENT = {
    "APIError",
    "APIKey",
    "AsyncClient",
    "AsyncExecutionHandle",
    "AsyncVMHandle",
    "BatchError",
    "CellOutput",
    "CellResult",
    "CodeContext",
    "ContextHandle",
    "AsyncContextHandle",
    "Client",
    "ClientError",
    "Event",
    "Execution",
    "ExecutionHandle",
    "FileChange",
    "FileInfo",
    "Forward",
    "LogEntry",
    "Network",
    "NetworkLogEntry",
    "NewAPIKey",
    "OutputPiece",
    "PoolStatus",
    "Share",
    "Snapshot",
    "Template",
    "TemplateBuild",
    "VM",
    "VMHandle",
    "VMStatus",
    "errors",
    "models",
}


def test_the_public_names_are_these() -> None:
    assert set(vmpool.__all__) == PUBLIC
    assert set(vmpool.client.__all__) == PUBLIC_OF_CLIENT


@pytest.mark.parametrize("module", [vmpool, vmpool.client])
def test_every_public_name_is_there(module: object) -> None:
    for name in getattr(module, "__all__"):  # noqa: B009 (modules have no such attribute for mypy)
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        getattr(module, "nonsense")  # noqa: B009


@pytest.mark.parametrize("names", ["vmpool", "vmpool, vmpool.client", "vmpool.cli, vmpool.client.local"])
def test_importing_it_loads_none_of_the_slow_libraries(names: str) -> None:
    program = (
        f"import {names}, sys; "
        "print([m for m in ('httpx', 'pydantic', 'anyio', 'typer', 'rich', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_does_not_load_the_network_client() -> None:
    program = (
        "import sys; sys.argv = ['vm', '--help']; from vmpool.cli.command import run; run(); "
        "print([m for m in ('httpx', 'pydantic', 'anyio') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_synchronous_client_is_what_the_generator_makes() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_sync.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_nothing_asynchronous_is_left_in_the_synchronous_client() -> None:
    for path in (ROOT / "src/vmpool/client/_sync").glob("*.py"):
        if path.name not in {"__init__.py", "forwarding.py", "jobs.py", "waiting.py"}:
            assert "async" not in path.read_text().lower(), path
            assert "await" not in path.read_text(), path


def test_vm_is_the_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"vm": "vmpool.cli:main"}
