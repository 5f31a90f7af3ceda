"""The database is locked by somebody, or goes away and comes back, under a server that is at work."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults.host_state import HostState
from tests.server_process import ServerProcess, server
from tests.unit.store.databases import SCRIPT

SECONDS = 60.0
ENDS_LATER = "echo begun; sleep 3; echo ended"


@contextmanager
def serving(state_dir: Path, **settings: str) -> Iterator[ServerProcess]:
    """A server with VMs, all of which are deleted at the end, and nothing left of them."""
    with server(
        state_dir,
        state_dir.with_name("log"),
        BACKEND="bubblewrap",
        PERIODS__RECONCILE_EVERY="0.3",
        WARM_POOL__MAXIMUM="0",
        **settings,
    ) as found:
        yield found
        for vm in found.client.get("/api/vms").json():
            assert found.client.delete(f"/api/vms/{vm['id']}").status_code == 204
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


def until(holds: Any) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.05)


def until_writes(found: ServerProcess, vm: str, text: str) -> None:
    """Until what runs in the VM has written this."""
    until(lambda: text in "".join(entry["text"] for entry in found.client.get(f"/api/vms/{vm}/logs").json()))


def assert_store_failed(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["code"]) == (500, "store_failed"), answer.text
    assert answer.json()["retryable"]


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.mark.timeout(120)
def test_locked_by_another_process(tmp_path: Path, clients: ThreadPoolExecutor) -> None:
    """Past the time a writer waits, too: what ended meanwhile is answered, and recorded once it can be."""
    state_dir = tmp_path / "state"
    with serving(state_dir) as found:
        for name in ("box", "other"):
            assert create(found, name).status_code == 201
        runs: Future[httpx.Response] = clients.submit(execute, found, "box", ENDS_LATER)
        until_writes(found, "box", "begun")
        with closing(sqlite3.connect(state_dir / "vmpool.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            refused = [
                clients.submit(execute, found, "box", "touch ran"),
                clients.submit(create, found, "new"),
                clients.submit(found.client.delete, "/api/vms/other"),
            ]
            assert [vm["name"] for vm in found.client.get("/api/vms").json()] == ["other", "box"]
            for answer in refused:
                assert_store_failed(answer.result(SECONDS))
            ended = runs.result(SECONDS).json()
            assert ended["output"] == "begun\nended\n"
            assert (
                found.client.get(f"/api/vms/box/executions/{ended['id']}").json()["output"] == ended["output"]
            )
            rows = HostState(state_dir, "bubblewrap")
            assert rows.query("SELECT state FROM vm_executions WHERE id = ?", ended["id"]) == [("running",)]
            other.execute("ROLLBACK")
        until(lambda: rows.differences() == [])
        assert rows.query("SELECT output FROM vm_executions WHERE id = ?", ended["id"]) == [
            (ended["output"],)
        ]
        assert done(found, "box", "ls") == ""  # what was refused never ran
        assert done(found, "other", "echo usable") == "usable\n"
        assert create(found, "new").status_code == 201


@pytest.fixture
def postgres(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The URL and the directory of a PostgreSQL of the test's own."""
    started = subprocess.run([SCRIPT, "start"], capture_output=True, text=True, check=False)
    if started.returncode != 0:
        if "postgres" in request.config.getoption("--require-backend"):
            pytest.fail(f"postgres is required and not available: {started.stderr}", pytrace=False)
        pytest.skip(started.stderr)
    said = dict(line.split("=", 1) for line in started.stdout.splitlines())
    try:
        yield said["VMPOOL_TEST_POSTGRES"], said["VMPOOL_TEST_POSTGRES_DIR"]
    finally:
        subprocess.run([SCRIPT, "stop", said["VMPOOL_TEST_POSTGRES_DIR"]], check=True)


@pytest.mark.timeout(120)
def test_gone_and_back(tmp_path: Path, clients: ThreadPoolExecutor, postgres: tuple[str, str]) -> None:
    url, directory = postgres
    with serving(tmp_path / "state", DATABASE_URL=url) as found:
        for name in ("box", "other"):
            assert create(found, name).status_code == 201
        runs = clients.submit(execute, found, "box", ENDS_LATER)
        until_writes(found, "box", "begun")
        subprocess.run([SCRIPT, "kill", directory], check=True)
        assert_store_failed(execute(found, "box", "touch ran"))
        assert_store_failed(create(found, "new"))
        assert_store_failed(found.client.delete("/api/vms/other"))
        assert found.client.get("/ready").status_code == 503
        assert [vm["status"] for vm in found.client.get("/api/vms").json()] == ["running", "running"]
        ended = runs.result(SECONDS).json()
        assert ended["output"] == "begun\nended\n"
        subprocess.run([SCRIPT, "again", directory], check=True)
        until(lambda: found.client.get("/ready").status_code == 200)

        def recorded() -> bool:
            answer = found.client.get(f"/api/vms/box/executions/{ended['id']}")
            return answer.status_code == 200 and bool(answer.json()["state"] == "finished")

        until(recorded)
        assert done(found, "box", "ls") == ""  # what was refused never ran
        assert done(found, "other", "echo usable") == "usable\n"
        assert create(found, "new").status_code == 201
