"""A real server on the embedded backend in a state directory of its own, and the `vm` command beside it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pools import Pool, delete_vms, running_pool, why_missing
from vmpool import Client

VM = Path(sys.executable).with_name("vm")
"""The command as it is installed."""
START_SECONDS = 30.0


@dataclass(frozen=True)
class Site:
    """A state directory, and the environment in which `vm` uses it."""

    state_dir: Path
    env: Mapping[str, str]

    def vm(self, *words: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """`vm` with these words; nothing on standard input unless given."""
        return subprocess.run(
            [VM, *words],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL if stdin is None else None,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def done(self, *words: str, stdin: str | None = None) -> str:
        """What `vm` prints; it must succeed."""
        completed = self.vm(*words, stdin=stdin)
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    def data(self, *words: str) -> Any:
        """What `vm` prints with --json, parsed."""
        return json.loads(self.done(*words, "--json"))

    @property
    def url(self) -> str:
        """Where the running server listens."""
        return str(json.loads((self.state_dir / "server.json").read_text())["url"])

    @property
    def pid(self) -> int:
        """The running server's process."""
        return int(json.loads((self.state_dir / "server.json").read_text())["pid"])

    @property
    def key(self) -> str:
        """The owner's API key."""
        return (self.state_dir / "owner.key").read_text().strip()


def site_in(directory: Path) -> Site:
    """A site with the embedded backend; its server takes any free port."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("VMPOOL_")}
    env |= {"VMPOOL_STATE_DIR": str(directory), "VMPOOL_BACKEND": "bubblewrap", "VMPOOL_LISTEN__PORT": "0"}
    env |= {"NO_COLOR": "1", "COLUMNS": "100"}
    return Site(directory, env)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits only for a negligent init to take note of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a server in the foreground.  At the end its VMs are deleted and it ends by SIGTERM."""
    site = site_in(tmp_path_factory.mktemp("served") / "state")
    log = site.state_dir.with_name("log")
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [VM, "serve"], env=site.env, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (site.state_dir / "server.json").exists():
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        assert site.pid == server.pid
        yield site
        delete_all(site)
    finally:
        server.terminate()
        status = server.wait(30)
    assert status == 0, log.read_text()


@pytest.fixture
def site(served: Site) -> Iterator[Site]:
    """The same server with no VM in it, before and after."""
    delete_all(served)
    yield served
    delete_all(served)


def delete_all(site: Site) -> None:
    """Delete every VM of the site's owner."""
    with Client(site.url, site.key) as client:
        for vm in client.list_vms():
            vm.delete()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Site]:
    """A site without a server; whatever was started is stopped, and its VMs are deleted."""
    site = site_in(tmp_path / "state")
    yield site
    if (site.state_dir / "server.json").exists():
        delete_all(site)
        site.done("serve", "--stop")


@pytest.fixture(scope="session", params=["bubblewrap", "docker"])
def pool_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One server for each real backend."""
    backend: str = request.param
    missing = why_missing(backend)
    if missing is not None:
        if backend in request.config.getoption("--require-backend"):
            pytest.fail(f"{backend} is required: {missing}")
        pytest.skip(f"{backend}: {missing}")
    with running_pool(backend, tmp_path_factory.mktemp(backend)) as pool:
        yield pool


@pytest.fixture
def pool(pool_server: Pool) -> Iterator[Pool]:
    """The same server with no VM in it, before and after."""
    delete_vms(pool_server)
    yield pool_server
    delete_vms(pool_server)
