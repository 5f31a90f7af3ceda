"""A real server on real VMs, killed with SIGKILL at any moment: nothing is lost and nothing is left over."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any

import httpx
import pytest

from tests.server_process import ServerProcess, server
from tests.unit.bubblewrap.inside import mounted_images, processes_of
from vmpool.backends.base import MachineKey

SETTLE_SECONDS = 40.0
SETTLED = ("running", "stopped")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A state directory; at the end nothing of it may be left on the host."""
    state_dir = tmp_path / "state"
    yield state_dir
    with start(state_dir) as found:
        for vm in found.client.get("/api/vms").json():
            assert found.client.delete(f"/api/vms/{vm['id']}").status_code == 204
        until(lambda: machines(state_dir) == set())
    assert list((state_dir / "bubblewrap" / "vms").iterdir()) == []  # spares end with their server
    assert processes_of(state_dir) == []
    assert mounted_images(state_dir) == []


@contextmanager
def start(state_dir: Path) -> Iterator[ServerProcess]:
    with server(
        state_dir, state_dir.with_name("log"), BACKEND="bubblewrap", PERIODS__RECONCILE_EVERY="0.5"
    ) as found:
        yield found


def until(holds: Callable[[], bool], seconds: float = SETTLE_SECONDS) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.05)


def machines(state_dir: Path) -> set[str]:
    """Keys of the machines that are on the host and somebody's."""
    directory = state_dir / "bubblewrap" / "vms"
    found = {entry.name for entry in directory.iterdir()} if directory.exists() else set()
    return {key for key in found if not MachineKey.parse(key).is_spare}


def rows(state_dir: Path, query: str) -> list[Any]:
    """What the database says, past the server."""
    (database,) = state_dir.glob("*.db")
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


def execute(found: ServerProcess, vm: int, command: str) -> dict[str, Any]:
    answer = found.client.post(f"/api/vms/{vm}/execute", json={"command": command})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def create(found: ServerProcess, name: str) -> int:
    answer = found.client.post("/api/vms/create", json={"name": name, "language": "python"})
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def assert_rows_and_reality_agree(found: ServerProcess, state_dir: Path) -> None:
    """Wait for the reconciler, then use every VM."""

    def settled() -> bool:
        vms = found.client.get("/api/vms").json()
        keys = rows(state_dir, "SELECT id, generation FROM virtual_machines WHERE status <> 'deleted'")
        return (
            all(vm["status"] in SETTLED for vm in vms)
            and machines(state_dir) == {f"vm-{vm}-{generation}" for vm, generation in keys}
            and rows(state_dir, "SELECT id FROM vm_executions WHERE state = 'running'") == []
            and rows(state_dir, "SELECT id FROM snapshots WHERE state <> 'ready'") == []
        )

    until(settled)
    for vm in found.client.get("/api/vms").json():
        if vm["status"] == "stopped":
            assert found.client.post(f"/api/vms/{vm['id']}/start").status_code == 200
        assert execute(found, vm["id"], "echo usable")["output"] == "usable\n"


@pytest.mark.timeout(180)
def test_programs_go_on_and_their_whole_output_is_recorded(site: Path) -> None:
    """400 kB of it before the kill, most of which the agent was told to forget, and some after."""
    program = "head -c 400000 /dev/zero | tr '\\0' a; echo one; sleep 4; echo two; exit 5"
    with start(site) as found:
        vm = create(found, "box")
        execute(found, vm, "echo kept > note")
        run = threading.Thread(target=fire_and_forget, args=(found, vm, program))
        run.start()
        until(lambda: "one" in "".join(e["text"] for e in found.client.get(f"/api/vms/{vm}/logs").json()))
        found.end(SIGKILL)
        run.join()
    with start(site) as found:
        until(lambda: rows(site, "SELECT id FROM vm_executions WHERE state = 'running'") == [])
        newest = found.client.get(f"/api/vms/{vm}/executions").json()[0]
        assert (newest["state"], newest["exit_code"]) == ("finished", 5)
        assert newest["output"] == "a" * 400000 + "one\ntwo\n"
        assert execute(found, vm, "cat note")["output"] == "kept\n"


def fire_and_forget(found: ServerProcess, vm: int, command: str) -> None:
    try:
        found.client.post(f"/api/vms/{vm}/execute", json={"command": command})
    except httpx.TransportError:
        return


def use(found: ServerProcess, seed: int) -> None:
    """A user who tries everything until the server is gone.  Refusals are none of their concern."""
    chance = random.Random(seed)
    name = f"vm-{seed % 3}"
    verbs: list[tuple[str, str, dict[str, object] | None]] = [
        ("POST", "/api/vms/create", {"name": name, "language": "python"}),
        ("POST", f"/api/vms/{name}/execute", {"code": "print(sum(range(1000)))"}),
        ("POST", f"/api/vms/{name}/execute", {"command": "echo begun; sleep 0.3; echo ended"}),
        ("POST", f"/api/vms/{name}/stop", None),
        ("POST", f"/api/vms/{name}/start", None),
        ("POST", f"/api/vms/{name}/restart", None),
        ("POST", f"/api/vms/{name}/snapshot", None),
        ("DELETE", f"/api/vms/{name}", None),
    ]
    weights = [6, 4, 4, 2, 4, 1, 2, 1]
    try:
        while True:
            method, path, body = chance.choices(verbs, weights)[0]
            found.client.request(method, path, json=body)
            if chance.random() < 0.2:
                kept = found.client.get(f"/api/vms/{name}/snapshots").json()
                if isinstance(kept, list) and kept:
                    found.client.post(f"/api/vms/{name}/restore", json={"snapshot_id": kept[0]["id"]})
    except httpx.TransportError:
        return


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_of_a_busy_day(site: Path, seed: int) -> None:
    chance = random.Random(seed)
    for death in range(6):
        with start(site) as found:
            users = [
                threading.Thread(target=use, args=(found, seed * 1000 + death * 10 + n)) for n in range(4)
            ]
            for user in users:
                user.start()
            time.sleep(chance.uniform(0.1, 2.0))
            found.end(SIGKILL)
            for user in users:
                user.join()
    with start(site) as found:
        assert_rows_and_reality_agree(found, site)
