"""The guest agent, process 1 of a VM, is killed from outside under everything that runs there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import docker_engine
from tests.faults.host_state import HostState
from tests.faults.use import (
    SECONDS,
    create,
    done,
    execute,
    serving,
    status_of,
    until,
    until_agreed,
    until_writes,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="killing a VM's processes takes root"),
]


@pytest.fixture(params=["bubblewrap", "docker"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    missing = docker_engine.why_missing() if name == "docker" else None
    if missing is not None:
        if name in request.config.getoption("--require-backend"):
            pytest.fail(f"{name} is required and not available: {missing}", pytrace=False)
        pytest.skip(missing)
    return name


def agents(host: HostState) -> Iterator[int]:
    """Process 1 of each VM of this pool, as the host numbers them."""
    for row in host.rows():
        yield host.first_process(row.key)


@pytest.mark.timeout(120)
def test_the_vm_is_stopped_and_starts_again_with_its_files(
    backend: str, tmp_path: Path, clients: ThreadPoolExecutor
) -> None:
    host = HostState(tmp_path / "state", backend)
    with serving(tmp_path / "state", backend) as found:
        assert create(found, "box").status_code == 201
        done(found, "box", "echo kept > note; sync")
        runs = clients.submit(execute, found, "box", "echo begun; sleep 600")
        until_writes(found, "box", "begun")
        (agent,) = agents(host)
        os.kill(agent, signal.SIGKILL)

        answer = runs.result(SECONDS)
        assert (answer.status_code, answer.json()["code"]) == (502, "agent_unreachable"), answer.text
        assert answer.json()["dispatch"] == "outcome_unknown"
        until(lambda: status_of(found, "box") == "stopped")
        until_agreed(host)
        lost = found.client.get("/api/vms/box/executions?limit=1").json()[0]
        assert (lost["state"], lost["output"]) == ("lost", "begun\n") and lost["failure"]
        assert "without being asked" in found.client.get("/api/vms/box").json()["error"]
        assert found.client.post("/api/vms/box/start").status_code == 200
        assert done(found, "box", "cat note") == "kept\n"


@pytest.mark.timeout(120)
def test_one_that_hangs_is_told_and_can_be_stopped(
    backend: str, tmp_path: Path, clients: ThreadPoolExecutor
) -> None:
    """Held by SIGSTOP it answers nobody, and keeps its stream open."""
    host = HostState(tmp_path / "state", backend)
    with serving(tmp_path / "state", backend) as found:
        assert create(found, "box").status_code == 201
        done(found, "box", "echo kept > note; sync")
        (agent,) = agents(host)
        os.kill(agent, signal.SIGSTOP)
        answer = execute(found, "box", "echo never")
        assert (answer.status_code, answer.json()["code"]) == (502, "agent_unreachable"), answer.text
        assert found.client.post("/api/vms/box/restart").status_code == 200
        assert done(found, "box", "cat note") == "kept\n"
        until_agreed(host)
