"""What `deploy/` holds works: the unit leaves VMs what they need, and the server of the image makes VMs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import docker_engine
from tests.server_process import ServerProcess

from .test_server import create, execute

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "vmpool.service"
START_SECONDS = 120.0


def service() -> dict[str, list[str]]:
    """The unit's [Service] section."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_unit_says_what_vms_need() -> None:
    unit = service()
    assert unit["KillMode"] == ["process"]
    assert unit["Delegate"] == ["yes"]
    assert unit["Type"] == ["notify"]
    # Inherited by every VM, or in the way of its own /proc.
    for name in ("SystemCallFilter", "MemoryDenyWriteExecute", "ProtectKernelTunables", "ProtectProc"):
        assert name not in unit


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed; the other tests parse the unit")
    # The program is where an installation puts it, which this host need not have.
    unit = tmp_path / "vmpool.service"
    unit.write_text(UNIT.read_text().replace("/opt/vmpool/bin/vm", "/bin/true"))
    found = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr.strip()) == (0, "")


@pytest.mark.root
def test_vms_run_under_what_the_unit_takes_away(tmp_path: Path) -> None:
    """Without systemd: the same capabilities, privileges and read-only places, by other means."""
    if os.geteuid() != 0:
        pytest.skip("only root has what the unit takes away")
    [dropped] = service()["CapabilityBoundingSet"]
    assert dropped.startswith("~")
    bounding = ",".join(f"-{name.removeprefix('CAP_').lower()}" for name in dropped[1:].split())
    script = (
        "mount --bind /usr /usr && mount -o remount,bind,ro /usr && "
        "mount --bind /etc /etc && mount -o remount,bind,ro /etc && "
        f'exec setpriv --bounding-set="{bounding}" --no-new-privs "$@"'
    )
    state_dir, output = tmp_path / "state", tmp_path / "output"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("VMPOOL_")}
    variables |= {
        "VMPOOL_STATE_DIR": str(state_dir),
        "VMPOOL_BACKEND": "bubblewrap",
        "VMPOOL_LISTEN__PORT": "0",
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
    }
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        output.open("wb") as log,
    ):
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(START_SECONDS)
        command = ["unshare", "--mount", "sh", "-ec", script, "sh", sys.executable, "-m", "vmpool.app"]
        process = subprocess.Popen(command, env=variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            assert manager.recv(64) == b"READY=1\n", output.read_text()
            running = ServerProcess(process, state_dir)
            with running.client:
                backend = running.client.get("/api/vms/pool-status").json()["backend"]
                assert backend["grade"] == "full root"
                assert "nothing" not in backend["enforcement"].values()
                create(running, "box")
                ran = execute(running, "box", command="grep NoNewPrivs /proc/self/status; env; echo done")
                assert ran["output"].endswith("done\n")
                assert "NOTIFY_SOCKET" not in ran["output"]
                assert running.client.delete("/api/vms/box").status_code == 204
            process.terminate()
            assert manager.recv(64) == b"STOPPING=1\n"
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest) -> Iterator[str]:
    """The server's image, built on the python template's, which has what the build would install."""
    missing = docker_engine.why_missing() or (
        None if shutil.which("docker") else "there is no docker command"
    )
    if missing is not None:
        if "docker" in request.config.getoption("--require-backend"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    tag = f"vmpool-server-test-{uuid.uuid4().hex[:8]}"
    environment = {**os.environ, "PYTHON": sys.executable, "DEBIAN": "vmpool/python", "OFFLINE": "1"}
    built = subprocess.run(
        [DEPLOY / "build-image", tag], env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    yield tag
    docker("rmi", tag)


def docker(*words: str) -> str:
    """What the command prints; it must succeed."""
    ran = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def compose() -> dict[str, Any]:
    """The compose file's one service; read line by line, as there is no YAML here."""
    lines = [line.split("#")[0].rstrip() for line in (DEPLOY / "compose.yaml").read_text().splitlines()]
    found: dict[str, Any] = {}
    key = ""
    for line in lines[lines.index("  vmpool:") + 1 : lines.index("volumes:")]:
        if line.startswith("      - "):
            found[key] = [*(found.get(key) or []), line.removeprefix("      - ").strip('"')]
        elif line.startswith("    "):
            key, _, value = line.strip().partition(":")
            found[key] = value.strip()
    return found


@pytest.mark.timeout(300)
def test_the_composed_server_makes_vms(image: str) -> None:
    """`docker run` with what the compose file says; its plugin is not everywhere."""
    asked = compose()
    name = f"{image}-1"
    socket_volume = next(volume for volume in asked["volumes"] if "docker.sock" in volume)
    words = ["--read-only"] if asked["read_only"] == "true" else []
    words += [f"--tmpfs={path}" for path in asked["tmpfs"]]
    words += [f"--cap-drop={capability}" for capability in asked["cap_drop"]]
    words += [f"--security-opt={option}" for option in asked["security_opt"]]
    words += [f"--volume={socket_volume}", f"--volume={name}:/var/lib/vmpool", "--publish=127.0.0.1::8321"]
    docker("run", "--detach", f"--name={name}", *words, image)
    try:
        port = docker("port", name, "8321/tcp").rpartition(":")[2]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            deadline = time.monotonic() + START_SECONDS
            while not answers(client):
                assert time.monotonic() < deadline, docker("logs", name)
                time.sleep(0.2)
            key = docker("exec", name, "cat", "/var/lib/vmpool/owner.key")
            client.headers["Authorization"] = f"Bearer {key}"
            body = {"name": "box", "language": "bash"}
            assert client.post("/api/vms/create", json=body).status_code == 201, docker("logs", name)
            ran = client.post("/api/vms/box/execute", json={"command": "echo composed"})
            assert ran.json()["output"] == "composed\n"
            assert client.delete("/api/vms/box").status_code == 204
        docker("stop", name)
        assert json.loads(docker("inspect", name))[0]["State"]["ExitCode"] == 0, docker("logs", name)
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("volume", "rm", "--force", name)


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/ready").status_code == 200
    except httpx.TransportError:
        return False
