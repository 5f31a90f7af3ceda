"""The database is locked by somebody, or goes away and comes back, under a server that is at work."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.host_state import HostState
from tests.faults.use import (
    ENDS_LATER,
    SECONDS,
    assert_store_failed,
    create,
    done,
    execute,
    serving,
    until,
    until_agreed,
    until_writes,
)
from tests.unit.store.databases import SCRIPT


@pytest.mark.timeout(120)
def test_locked_by_another_process(tmp_path: Path, clients: ThreadPoolExecutor) -> None:
    """Past the time a writer waits, too: what ended meanwhile is answered, and recorded once it can be."""
    state_dir = tmp_path / "state"
    with serving(state_dir) as found:
        for name in ("box", "other"):
            assert create(found, name).status_code == 201
        runs = clients.submit(execute, found, "box", ENDS_LATER)
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
        until_agreed(rows)
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
