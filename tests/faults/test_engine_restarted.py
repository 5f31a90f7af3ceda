"""The Docker engine goes away under a server at work, and comes back: with its containers, or without."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import docker_engine
from tests.faults.use import SECONDS, create, done, execute, serving, status_of, until, until_writes
from tests.private_engine import private_engine

IMAGE = "vmpool/bash"
PROGRAM = "echo begun; while [ ! -e end ]; do sleep 0.1; done; echo ended"


@pytest.fixture
def engine_image(request: pytest.FixtureRequest) -> str:
    """The image a private engine gets from the shared one."""
    missing = docker_engine.why_missing() if os.geteuid() == 0 else "an engine of one's own takes root"
    if missing is not None:
        if "docker" in request.config.getoption("--require-backend"):
            pytest.fail(f"docker is required and not available: {missing}", pytrace=False)
        pytest.skip(missing)
    return IMAGE


@pytest.mark.timeout(180)
@pytest.mark.parametrize("containers_live", [False, True])
def test_restarted(
    containers_live: bool, engine_image: str, tmp_path: Path, clients: ThreadPoolExecutor
) -> None:
    """While it is away nothing is claimed of any VM; then rows say what is so, and no file is lost."""
    home = tmp_path / "engine"
    home.mkdir()
    with (
        private_engine(home, engine_image, live_restore=containers_live) as engine,
        serving(tmp_path / "state", "docker", DOCKER__HOST=engine.host) as found,
    ):
        assert create(found, "box").status_code == 201
        done(found, "box", "echo kept > note")
        runs = clients.submit(execute, found, "box", PROGRAM)
        until_writes(found, "box", "begun")
        engine.end(signal.SIGKILL if containers_live else signal.SIGTERM)

        refused = create(found, "new")
        assert (refused.status_code, refused.json()["code"]) == (503, "backend_unreachable"), refused.text
        assert found.client.get("/ready").status_code == 503
        if containers_live:  # else the engine stopped it, and said so before it went
            assert status_of(found, "box") == "running"
        engine.start()
        until(lambda: found.client.get("/ready").status_code == 200)
        if containers_live:
            assert done(found, "box", "touch end; cat note") == "kept\n"
            assert runs.result(SECONDS).json()["output"] == "begun\nended\n"
        else:
            assert runs.result(SECONDS).json()["code"] == "agent_unreachable"
            until(lambda: status_of(found, "box") not in ("running", "stopping"))
            assert status_of(found, "box") == "stopped"
            (lost, *_) = found.client.get("/api/vms/box/executions").json()
            assert (lost["state"], lost["output"]) == ("lost", "begun\n")
            assert found.client.post("/api/vms/box/start").status_code == 200
            assert done(found, "box", "cat note") == "kept\n"
        # the name is free once the reconciler knows that nothing was made of it
        until(lambda: create(found, "new").status_code == 201)
        assert done(found, "new", "echo usable") == "usable\n"
