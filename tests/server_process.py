"""A server as a process of its own, as `vm serve` runs it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

START_SECONDS = 30.0


class ServerProcess:
    """One running server.  url: where it listens.  client: somebody with its owner's key."""

    def __init__(self, process: subprocess.Popen[bytes], state_dir: Path) -> None:
        self.process = process
        said = json.loads((state_dir / "server.json").read_text())
        self.url: str = said["url"]
        self.key = (state_dir / "owner.key").read_text().strip()
        self.client = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=60,
            trust_env=False,
            verify=ssl.create_default_context(cafile=said.get("certificate")),
        )

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)


def spawn(state_dir: Path, output: Path, **settings: str) -> subprocess.Popen[bytes]:
    """Start one and do not wait.  settings: `VMPOOL_*` without the prefix."""
    variables = {f"VMPOOL_{name}": value for name, value in settings.items()}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VMPOOL_")}
    with output.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "vmpool.app"],
            env={
                **inherited,
                "VMPOOL_STATE_DIR": str(state_dir),
                "VMPOOL_LISTEN__PORT": "0",
                **variables,
            },
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@contextmanager
def server(state_dir: Path, output: Path, **settings: str) -> Iterator[ServerProcess]:
    """A server that answers; ended with SIGTERM where the block has not ended it."""
    process = spawn(state_dir, output, **settings)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _announced(state_dir, process.pid):
            assert process.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.02)
        found = ServerProcess(process, state_dir)
        with found.client:
            yield found
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise


def _announced(state_dir: Path, pid: int) -> bool:
    try:
        announced: int = json.loads((state_dir / "server.json").read_text())["pid"]
    except FileNotFoundError:
        return False
    return announced == pid
