"""How long a key takes to be seen in a VM's terminal: `python -m bench.keystrokes [--backend docker]`.

From the client's sending it over a WebSocket to the echo's arrival, beside a terminal of this host behind the
same WebSocket server.  In turns, in one run.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.sync.client import ClientConnection, connect

from bench.rest import Client
from bench.server import running_server

LIMIT = 2.0
"""Times the local terminal's median."""
BATCH = 20
"""Keys before it is the other's turn."""


@contextmanager
def local_terminal() -> Iterator[ClientConnection]:
    """One of this host."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, "-m", "bench.floors.local_terminal", str(port)]) as server:
        try:
            terminal = _connected(f"ws://127.0.0.1:{port}/terminal")
            with terminal:
                yield terminal
        finally:
            server.terminate()


def _connected(url: str) -> ClientConnection:
    """As soon as there is something to connect to."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return connect(url, proxy=None)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def key(terminal: ClientConnection) -> float:
    """One key, in milliseconds."""
    began = time.perf_counter()
    terminal.send('{"stdin":"x"}')
    while True:
        message = json.loads(terminal.recv(timeout=30))
        if message["event"] == "stdout":
            assert message["text"] == "x", message
            return 1000 * (time.perf_counter() - began)


def measure(backend: str, count: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each key, in the VM and locally."""
    vm: list[float] = []
    local: list[float] = []
    with running_server(backend) as server, Client(server.address) as client, local_terminal() as floor:
        client.post("/api/vms/create", {"name": "keys", "language": "python"})
        begun = client.post(
            "/api/vms/keys/execute",
            {"command": "stty -icanon; echo ready; exec cat >/dev/null", "background": True, "terminal": {}},
        )
        headers = {"Authorization": f"Bearer {server.key}"}
        url = f"ws{server.url.removeprefix('http')}/api/vms/keys/executions/{begun['id']}/stream"
        with connect(url, additional_headers=headers, proxy=None) as terminal:
            while "ready" not in json.loads(terminal.recv(timeout=30)).get("text", ""):
                pass
            for number in range(-BATCH, count, BATCH):
                for opened, taken in ((terminal, vm), (floor, local)):
                    found = [key(opened) for _ in range(BATCH)]
                    if number >= 0:  # the first are to warm up
                        taken += found
        client.post(f"/api/vms/keys/executions/{begun['id']}/cancel", {"grace": 0})
    return vm, local


def main() -> int:
    """Measure and say; 1 where a key takes longer than it may."""
    parser = argparse.ArgumentParser(prog="python -m bench.keystrokes", description=__doc__)
    parser.add_argument("--backend", default="bubblewrap")
    parser.add_argument("--count", type=int, default=1000)
    asked = parser.parse_args()
    vm, local = (statistics.median(taken) for taken in measure(asked.backend, asked.count))
    print(f"{asked.backend}: a key {vm:.2f} ms, in a local terminal {local:.2f} ms: {vm / local:.2f} times")
    return 0 if vm / local <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
