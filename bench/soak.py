"""A pool that is used for a long time and grows in nothing: `python -m bench.soak --minutes 30`.

VMs come and go as users have them: made, used, snapshotted, stopped, restored, deleted, with small and large
output, failures and timeouts.  In between everything is deleted, and what the server and the host hold then
is compared: the first such rest is the measure for all others.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import psutil

from bench.rest import Client, RequestFailed
from bench.server import Server, running_server

WIDTH = 4
"""VMs in use at once."""
WARM_LIVES = 5
"""So many of each of them before anything is compared."""
RESTS = 8
"""Looks at the pool at rest, at least; one at most every `LONGEST_TURN` seconds."""
LONGEST_TURN = 60.0
SETTLE_SECONDS = 20.0
"""What ends by itself gets so long before it counts."""
GROWTH = 1.10
SLACK = 8 << 20
"""Bytes, and a tenth: what memory may grow by from the first rest to the last."""
AT_ONCE = 8
"""Descriptors and threads more than at the first rest: the database's connections and the worker threads are
made when so many are needed at once, which may be later."""
PROGRAMS = (
    {"code": "print(1)"},
    {"code": "print('x' * 3_000_000)"},
    {"code": "raise SystemExit(3)"},
    {"command": "sleep 5", "timeout": 0.2},
    {"command": "head -c 200000 /dev/zero; sleep 0.1 & true"},
)


@dataclass(frozen=True)
class Held:
    """What the server and the host hold for it.  memory: bytes; the rest are counts."""

    memory: int
    descriptors: int
    threads: int
    processes: int
    groups: int
    mounts: int
    loops: int
    files: int


def held(server: Server) -> Held:
    """Now."""
    process = psutil.Process(server.pid)
    state = Path(process.environ()["VMPOOL_STATE_DIR"])
    pool = (state / "pool_id").read_text().strip()
    mounts = Path(f"/proc/{server.pid}/mountinfo").read_text().splitlines()
    loops = [_text(path) for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    groups = [path for path, _, _ in os.walk("/sys/fs/cgroup") if f"/{pool}/" in f"{path}/"]
    return Held(
        memory=process.memory_info().rss,
        descriptors=process.num_fds(),
        threads=process.num_threads(),
        processes=len(process.children(recursive=True)),
        groups=len(groups),
        mounts=sum(str(state) in line for line in mounts),
        loops=sum(str(state) in text for text in loops),
        files=sum(len(names) for place, _, names in os.walk(state) if not place.endswith("/spool")),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has just gone
        return ""


def life(server: Server, name: str) -> int:
    """One VM from its creation to its deletion; executions in it."""
    with Client(server.address) as client:
        path = f"/api/vms/{name}"
        client.post("/api/vms/create", {"name": name, "language": "python"})
        for program in PROGRAMS:
            client.post(f"{path}/execute", program)
        kept = client.post(f"{path}/snapshot")
        client.post(f"{path}/stop")
        client.post(f"{path}/start")
        client.post(f"{path}/restore", {"snapshot_id": kept["id"]})
        newest = client.get(f"{path}/executions?limit=5")
        big = max(newest, key=lambda one: one["output_bytes"] or 0)
        client.send_raw(client.address.render("GET", f"{path}/executions/{big['id']}/output"))
        client.delete(path)
    return len(PROGRAMS)


def rest(server: Server, measure: Held | None) -> Held:
    """What is held once nothing is used; waits for what ends by itself."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = held(server)
        if (measure is None or not grown(measure, found)) and found.processes <= 1:
            return found
        if time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def grown(first: Held, last: Held) -> dict[str, tuple[int, int]]:
    """What has grown beyond what it may: of what is made for VMs nothing may be left."""
    before, after = asdict(first), asdict(last)
    allowed = {
        **before,
        "memory": int(before["memory"] * GROWTH) + SLACK,
        "descriptors": before["descriptors"] + AT_ONCE,
        "threads": before["threads"] + AT_ONCE,
    }
    return {name: (before[name], after[name]) for name in before if after[name] > allowed[name]}


def soak(backend: str, seconds: float) -> list[Held]:
    """Use a pool for so long; what it held at each rest."""
    turn = min(LONGEST_TURN, seconds / RESTS)
    settings = {"WARM_POOL__MAXIMUM": "0", "PERIODS__RECONCILE_EVERY": "2"}
    lives = failures = 0
    with running_server(backend, settings) as server, ThreadPoolExecutor(WIDTH) as threads:
        for place in range(WARM_LIVES):  # everything that is made once is made now
            names = [f"first-{WIDTH * place + number}" for number in range(WIDTH)]
            list(threads.map(partial(life, server), names))
        with Client(server.address) as client:
            client.post("/api/vms/create", {"name": "seen", "language": "python"})
            used = held(server)
            assert used.groups + used.mounts + used.loops > 0, f"nothing of a VM is counted: {used}"
            client.delete("/api/vms/seen")
        rests = [rest(server, None)]
        print(f"at rest: {rests[0]}", flush=True)
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            end = time.monotonic() + turn
            while time.monotonic() < end:
                names = [f"soak-{lives + number}" for number in range(WIDTH)]
                lives += WIDTH
                for done in [threads.submit(life, server, name) for name in names]:
                    try:
                        done.result()
                    except RequestFailed as error:
                        failures += 1
                        print(f"failed: {error}", flush=True)
            rests.append(rest(server, rests[0]))
            print(f"{time.monotonic() - began:6.0f} s, {lives} lives: {rests[-1]}", flush=True)
        print(f"{lives} VMs, {lives * len(PROGRAMS)} executions, {failures} failures", flush=True)
        if failures:
            raise SystemExit(1)
    return rests


def main() -> int:
    """Use it and say what grew; 1 where something did."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--backend", default="bubblewrap")
    asked = parser.parse_args()
    rests = soak(asked.backend, 60 * asked.minutes)
    found = grown(rests[0], rests[-1])
    for name, (before, after) in found.items():
        print(f"{name} grew from {before} to {after}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
