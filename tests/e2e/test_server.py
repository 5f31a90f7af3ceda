"""The main job over HTTP on the embedded backend, and what a killed server leaves for the next."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server_process import ServerProcess, server


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A state directory and a file for the server's words; every VM in it is gone at the end."""
    state_dir, output = tmp_path / "state", tmp_path / "output"
    yield state_dir, output
    with server(state_dir, output, BACKEND="bubblewrap") as last:
        for vm in last.client.get("/api/vms").json():
            assert last.client.delete(f"/api/vms/{vm['id']}").status_code == 204


def create(running: ServerProcess, name: str) -> Any:
    answer = running.client.post(
        "/api/vms/create",
        json={"name": name, "language": "python", "memory_limit": 128, "disk_limit": 32},
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def execute(running: ServerProcess, vm: int | str, **body: object) -> Any:
    answer = running.client.post(f"/api/vms/{vm}/execute", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_ten_vms_survive_the_server(place: tuple[Path, Path]) -> None:
    state_dir, output = place
    with server(state_dir, output, BACKEND="bubblewrap") as first:
        vms = [create(first, f"vm-{number}") for number in range(10)]
        assert {vm["status"] for vm in vms} == {"running"}
        refused = first.client.post("/api/vms/create", json={"name": "more", "language": "python"})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1

        hello = execute(first, "vm-0", code="print('Hello from VM!')")
        assert (hello["output"], hello["exit_code"]) == ("Hello from VM!\n", 0)
        assert execute(first, "vm-0", code="import sys; sys.exit(7)")["exit_code"] == 7
        execute(first, "vm-3", command="echo kept > note")
        batch = first.client.post("/api/vms/batch-execute", json={"code": "print(6 * 7)"}).json()
        assert [item["vm_id"] for item in batch] == [vm["id"] for vm in vms]
        assert {item["output"] for item in batch} == {"42\n"}
        assert first.end(signal.SIGKILL) == -signal.SIGKILL

    with server(state_dir, output, BACKEND="bubblewrap") as second:
        assert second.key == first.key
        found = second.client.get("/api/vms").json()
        assert [vm["id"] for vm in found] == [vm["id"] for vm in reversed(vms)]
        assert {vm["status"] for vm in found} == {"running"}
        assert {vm["container_id"] for vm in found} == {vm["container_id"] for vm in vms}
        assert execute(second, "vm-3", command="cat note")["output"] == "kept\n"
        again = second.client.post("/api/vms/batch-execute", json={"code": "print(1)"}).json()
        assert [item["output"] for item in again] == ["1\n"] * 10
        assert second.client.get("/api/vms/pool-status").json()["use"]["vms"] == 10


def test_an_execution_survives_the_server(place: tuple[Path, Path]) -> None:
    """Killed in the middle: the program goes on, and the next server has its result."""
    state_dir, output = place
    with server(state_dir, output, BACKEND="bubblewrap") as first:
        create(first, "box")

        def run() -> None:
            with pytest.raises(httpx.TransportError):
                first.client.post(
                    "/api/vms/box/execute",
                    json={"command": "echo begun; sleep 3; echo done"},
                    headers={"Idempotency-Key": "once"},
                )

        thread = threading.Thread(target=run)
        thread.start()
        while not first.client.get("/api/vms/box/executions").json():
            time.sleep(0.01)
        time.sleep(0.3)  # past the intent: the program runs
        first.end(signal.SIGKILL)
        thread.join()

    with server(state_dir, output, BACKEND="bubblewrap") as second:
        deadline = time.monotonic() + 20
        while (found := second.client.get("/api/vms/box/executions").json())[0]["state"] == "running":
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        assert [(entry["state"], entry["output"], entry["exit_code"]) for entry in found] == [
            ("finished", "begun\ndone\n", 0)
        ]
        again = second.client.post(
            "/api/vms/box/execute",
            json={"command": "echo begun; sleep 3; echo done"},
            headers={"Idempotency-Key": "once"},
        )
        assert (again.status_code, again.json()["code"]) == (502, "interrupted")
        assert len(second.client.get("/api/vms/box/executions").json()) == 1
