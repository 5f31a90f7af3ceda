"""What ten busy VMs of one user cost another user: `python -m bench.neighbours [--backend bubblewrap]`.

Each of the ten keeps every core it gets busy and most of its memory filled, and goes on touching it.  The
other user executes one small program after another, first with nobody beside them and then with all ten.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from bench.rest import Address, Client, RequestFailed
from bench.server import running_server

LIMIT = 5.0
"""Times its idle figure that the other user's p99 may become."""
VMS = 10
MEMORY = 64
"""MB of each."""
HOG = """
import os, threading
held = bytearray(40 << 20)
def spin():
    at = 0
    while True:
        for at in range(0, len(held), 4096):
            held[at] = (held[at] + 1) & 255
for _ in range(os.cpu_count() or 1):
    if os.fork() == 0:
        spin()
spin()
"""
HOG_SECONDS = 600
SETTLE = 2.0
"""Seconds until all ten are at it."""


@dataclass(frozen=True)
class Cost:
    """The other user's p99, in milliseconds."""

    idle: float
    beside: float

    @property
    def ratio(self) -> float:
        """What the neighbours cost."""
        return self.beside / self.idle


def p99(client: Client, count: int) -> float:
    """Of so many executions, one after another, in milliseconds."""
    took = []
    for _ in range(count):
        began = time.perf_counter()
        assert client.post("/api/vms/quiet/execute", {"code": "print(1)"})["output"] == "1\n"
        took.append(1000 * (time.perf_counter() - began))
    return sorted(took)[math.ceil(0.99 * count) - 1]


@contextmanager
def busy(address: Address) -> Iterator[None]:
    """Ten VMs at full CPU and memory."""
    with Client(address) as client:
        names = [f"busy-{number}" for number in range(VMS)]
        for name in names:
            client.post("/api/vms/create", {"name": name, "language": "python", "memory_limit": MEMORY})

        def hog(name: str) -> None:
            with Client(address) as mine, suppress(OSError, RequestFailed):
                mine.post(f"/api/vms/{name}/execute", {"code": HOG, "timeout": HOG_SECONDS})

        threads = [threading.Thread(target=hog, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        try:
            time.sleep(SETTLE)
            yield
        finally:
            for name in names:
                client.delete(f"/api/vms/{name}")
            for thread in threads:
                thread.join()


def measure(backend: str, count: int) -> Cost:
    """On a server of its own.  count: executions of the other user, each time."""
    with running_server(backend) as server, Client(server.address) as owner:
        made = owner.post("/api/users", {"name": "quiet"})
        with Client(replace(server.address, key=made["key"]["key"])) as quiet:
            quiet.post("/api/vms/create", {"name": "quiet", "language": "python"})
            p99(quiet, 50)  # warm
            idle = p99(quiet, count)
            with busy(server.address):
                beside = p99(quiet, count)
            quiet.delete("/api/vms/quiet")
    return Cost(idle, beside)


def main() -> int:
    """Measure and say; 1 where the neighbours cost more than they may."""
    parser = argparse.ArgumentParser(prog="python -m bench.neighbours", description=__doc__)
    parser.add_argument("--backend", default="bubblewrap")
    parser.add_argument("--count", type=int, default=500)
    asked = parser.parse_args()
    cost = measure(asked.backend, asked.count)
    print(f"p99 alone {cost.idle:.1f} ms, beside {VMS} busy VMs {cost.beside:.1f} ms: {cost.ratio:.1f} times")
    return 0 if cost.ratio <= LIMIT else 1


if __name__ == "__main__":
    raise SystemExit(main())
