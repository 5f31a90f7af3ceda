"""A vmpool server of its own in a temporary state directory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.rest import Address, Client

ROOM = {
    "LIMITS__MAX_VMS_PER_USER": "2000",
    "LIMITS__MAX_TOTAL_VMS": "2000",
    "LIMITS__MEMORY_OVERCOMMIT": "1000",
    "LIMITS__MAX_EXECUTIONS_IN_FLIGHT": "128",
}
"""A benchmark's one user has more VMs than a default user."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    address: Address
    pid: int
    backend: str
    settings: Mapping[str, str]

    @property
    def url(self) -> str:
        """Base of every request."""
        return self.address.url

    @property
    def key(self) -> str:
        """The owner's key."""
        return self.address.key


COLD = {"WARM_POOL__MAXIMUM": "0"}
"""No VM is made before it is asked for."""
WARM = {"WARM_POOL__MINIMUM": '{"python": 10}'}
"""VMs wait from the start."""


@contextmanager
def running_server(
    backend: str, settings: Mapping[str, str] | None = None, where: Path | None = None
) -> Iterator[Server]:
    """`vm serve` on `backend`; ended, with its VMs deleted, on the way out.

    settings: further `VMPOOL_*` variables, without the prefix.  where: the directory its state lies in.
    """
    with tempfile.TemporaryDirectory(prefix="vmpool-bench-", dir=where) as directory:
        own = {"STATE_DIR": directory, "BACKEND": backend, "LISTEN__PORT": "0", **ROOM, **(settings or {})}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VMPOOL_")}
        environment |= {f"VMPOOL_{name}": value for name, value in own.items()}
        log = Path(directory, "bench.log")
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "vmpool.cli", "serve"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us: we delete the VMs first
            )
        try:
            address = await_ready(process, Path(directory), log)
            try:
                yield Server(address, process.pid, backend, settings or {})
            finally:
                _delete_all(address)
        finally:
            _end(process)
            _tell_errors(backend, log)


def await_ready(process: subprocess.Popen[bytes], directory: Path, log: Path) -> Address:
    """Where the server listens; RuntimeError, with the end of `log`, if it does not start."""
    deadline = time.monotonic() + 60
    announcement = directory / "server.json"
    while time.monotonic() < deadline and process.poll() is None:
        if announcement.exists() and (text := announcement.read_text()):
            host, _, port = json.loads(text)["url"].removeprefix("http://").rpartition(":")
            return Address(host, int(port), (directory / "owner.key").read_text().strip())
        time.sleep(0.02)
    raise RuntimeError("the server did not start:\n" + log.read_text()[-2000:])


def _delete_all(address: Address) -> None:
    with contextlib.suppress(OSError), Client(address) as client:  # a server that died has none to delete
        while vms := client.get("/api/vms?limit=100"):
            for vm in vms:
                client.delete(f"/api/vms/{vm['id']}")


def _tell_errors(backend: str, log: Path) -> None:
    """What went wrong inside: the directory with the log is about to go."""
    seen: set[str] = set()
    for line in log.read_text(errors="replace").splitlines():
        if '"level": "error"' not in line:
            continue
        entry = json.loads(line)
        cause = entry.get("traceback", "").strip().rpartition("\n")[2]
        if cause not in seen:
            seen.add(cause)
            print(f"\nthe {backend} server: {entry['message']}: {cause}", file=sys.stderr)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
