"""Waiting containers of a real server: handed on whole, and none left behind by a killed one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from tests.server_process import ServerProcess, server

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def site(engine: None, tmp_path: Path) -> Iterator[Path]:
    """A state directory; at the end no container of it may be left."""
    state_dir = tmp_path / "state"
    yield state_dir
    with start(state_dir) as found:
        for vm in found.client.get("/api/vms").json():
            assert found.client.delete(f"/api/vms/{vm['id']}").status_code == 204
    assert containers(state_dir) == []


@contextmanager
def start(state_dir: Path, **settings: str) -> Iterator[ServerProcess]:
    with server(
        state_dir,
        state_dir.with_name("log"),
        BACKEND="docker",
        PERIODS__RECONCILE_EVERY="0.5",
        **{"WARM_POOL__MINIMUM": '{"python": 2}', "WARM_POOL__MAXIMUM": "2", **settings},
    ) as found:
        yield found


def containers(state_dir: Path) -> list[str]:
    """Names of this pool's containers, by the engine's own command."""
    pool_id = (state_dir / "pool_id").read_text().strip()
    listed = subprocess.run(
        ["docker", "ps", "--all", "--filter", f"label=vmpool.pool={pool_id}", "--format", "{{.Names}}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return sorted(name.removeprefix(f"vmpool-{pool_id}-") for name in listed.stdout.split())


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.05)


def warm_pool(found: ServerProcess) -> dict[str, Any]:
    figures: dict[str, Any] = found.client.get("/api/vms/pool-status").json()["warm_pool"]
    return figures


def until_ready(found: ServerProcess, count: int = 2) -> None:
    until(lambda: warm_pool(found)["ready"].get("python") == count)


def create(found: ServerProcess, name: str, **more: Any) -> dict[str, Any]:
    answer = found.client.post("/api/vms/create", json={"name": name, "language": "python", **more})
    assert answer.status_code == 201, answer.text
    vm: dict[str, Any] = answer.json()
    return vm


def output(found: ServerProcess, vm: dict[str, Any], command: str) -> str:
    answer = found.client.post(f"/api/vms/{vm['id']}/execute", json={"command": command})
    assert answer.status_code == 200, answer.text
    text: str = answer.json()["output"]
    return text


def test_a_vm_that_was_waiting_is_like_any_other(site: Path) -> None:
    with start(site) as found:
        until_ready(found)
        warm = create(found, "warm", memory_limit=100, cpu_limit=0.5)
        assert warm_pool(found)["hits"] == 1
        cold = create(found, "cold", memory_limit=100, cpu_limit=0.5, disk_limit=512)
        assert warm_pool(found)["misses"]["unsuitable"] == 1
        until(lambda: f"vm-{warm['id']}-1" in containers(site))  # the engine has been told
        differ = {"id", "name", "container_id", "created_at", "started_at", "disk_limit", "last_used_at"}
        assert {key: value for key, value in warm.items() if key not in differ} == {
            key: value for key, value in cold.items() if key not in differ
        }
        same = "id; pwd; ls -a /home/user /tmp; env | sort; cat /etc/hosts; ulimit -Sn -Hn; umask"
        assert output(found, warm, same) == output(found, cold, same)
        for _ in range(2):
            assert output(found, warm, "hostname; cat /etc/hostname; uname -n") == "warm\n" * 3
            assert found.client.post(f"/api/vms/{warm['id']}/restart").status_code == 200


def test_a_server_that_ends_takes_its_spares_with_it(site: Path) -> None:
    with start(site) as found:
        until_ready(found)
        assert len(containers(site)) == 2
    assert containers(site) == []


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.6])
def test_a_killed_server_loses_no_vm_and_leaves_no_spare(site: Path, seconds: float) -> None:
    """Killed at once after a claim, while the engine is told of it, or after that."""
    with start(site) as found:
        until_ready(found)
        vms = [create(found, f"vm-{number}", memory_limit=100) for number in range(2)]
        assert warm_pool(found)["hits"] == 2
        for vm in vms:
            output(found, vm, f"echo {vm['name']} > file")
        time.sleep(seconds)
        found.end(SIGKILL)
    assert containers(site)
    with start(site, WARM_POOL__MINIMUM="{}", WARM_POOL__MAXIMUM="0") as found:
        until(lambda: containers(site) == sorted(f"vm-{vm['id']}-1" for vm in vms))
        for vm in vms:
            now = found.client.get(f"/api/vms/{vm['id']}").json()
            assert (now["status"], now["container_id"]) == ("running", vm["container_id"])
            assert output(found, vm, "cat file; hostname") == f"{vm['name']}\n{vm['name']}\n"


def test_a_server_killed_while_it_fills_the_pool_leaves_nothing(site: Path) -> None:
    with start(site) as found:
        until(lambda: warm_pool(found)["making"] == 1)
        found.end(SIGKILL)
    with start(site, WARM_POOL__MINIMUM="{}", WARM_POOL__MAXIMUM="0"):
        until(lambda: containers(site) == [])
