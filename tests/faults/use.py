"""Using a server as its clients do, for tests in which something else goes wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.faults.host_state import HostState
from tests.server_process import ServerProcess, server

SECONDS = 60.0
ENDS_LATER = "echo begun; sleep 3; echo ended"


@contextmanager
def serving(state_dir: Path, backend: str = "bubblewrap", **settings: str) -> Iterator[ServerProcess]:
    """A server with VMs, all of which are deleted at the end, and nothing left of them."""
    with server(
        state_dir,
        state_dir.with_name("log"),
        **{
            "BACKEND": backend,
            "PERIODS__RECONCILE_EVERY": "0.3",
            "WARM_POOL__MAXIMUM": "0",
            **settings,
        },
    ) as found:
        try:
            yield found
        finally:
            vms = found.client.get("/api/vms").json()
            answers = [found.client.delete(f"/api/vms/{vm['id']}").status_code for vm in vms]
        assert set(answers) <= {204}
        if backend == "bubblewrap":
            assert list((state_dir / "bubblewrap" / "vms").iterdir()) == []


def create(found: ServerProcess, name: str) -> httpx.Response:
    return found.client.post("/api/vms/create", json={"name": name, "language": "bash", "disk_limit": 64})


def execute(found: ServerProcess, vm: str, command: str) -> httpx.Response:
    return found.client.post(f"/api/vms/{vm}/execute", json={"command": command})


def done(found: ServerProcess, vm: str, command: str) -> str:
    """What a command that has to succeed writes."""
    answer = execute(found, vm, command)
    assert answer.status_code == 200 and answer.json()["exit_code"] == 0, answer.text
    return str(answer.json()["output"])


def status_of(found: ServerProcess, vm: str) -> str:
    return str(found.client.get(f"/api/vms/{vm}").json()["status"])


def newest(found: ServerProcess, vm: str) -> dict[str, object]:
    """The VM's last execution."""
    found_one: dict[str, object] = found.client.get(f"/api/vms/{vm}/executions?limit=1").json()[0]
    return found_one


def until(holds: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.05)


def until_agreed(host: HostState) -> None:
    """Until rows and host agree."""
    deadline = time.monotonic() + SECONDS
    while found := host.differences():
        assert time.monotonic() < deadline, "; ".join(found)
        time.sleep(0.05)


def until_writes(found: ServerProcess, vm: str, text: str) -> None:
    """Until what runs in the VM has written this."""
    until(lambda: text in "".join(entry["text"] for entry in found.client.get(f"/api/vms/{vm}/logs").json()))


def assert_store_failed(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (500, "store_failed"), answer.text
    assert answer.json()["retryable"]
