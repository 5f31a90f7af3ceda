"""`python -m bench.where`: where each tenth of a millisecond of an execution goes, as a table.

One client, one VM, one execution after another.  With py-spy installed, `--flame FILE` also draws the
server's flame graph under load.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench.program import PYTHON
from bench.rest import Address, Client
from bench.server import await_ready

PARTS = (
    ("request sent", "request read", "the request reaches the server"),
    ("request read", "caller known", "HTTP is parsed, the key is known"),
    ("caller known", "row begun", "the body is checked, the VM found, a task begun"),
    ("row begun", "row written", "the row that announces it is written"),
    ("row written", "order sent", "the order is put together and sent"),
    ("order sent", "end arrived", "agent, supervisor, program, and the way back"),
    ("end arrived", "end begun", "the result is put together"),
    ("end begun", "end written", "the row of its end is written"),
    ("end written", "answer sent", "the answer is put together"),
    ("answer sent", "answer read", "it is sent, and reaches the client"),
)
Times = dict[str, int]


def main() -> int:
    """Print the table."""
    options = _parse()
    with tempfile.TemporaryDirectory(prefix="vmpool-where-") as directory:
        marks = Path(directory, "marks.json")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VMPOOL_")}
        environment |= {
            "VMPOOL_STATE_DIR": directory,
            "VMPOOL_BACKEND": options.backend,
            "VMPOOL_LISTEN__PORT": "0",
        }
        server = subprocess.Popen(
            [sys.executable, "-m", "bench.traced_server", str(marks)],
            env=environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            address = await_ready(server, Path(directory), marks)
            sent = _execute(address, options.count, options.flame, server.pid)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        print(_table(_executions(json.loads(marks.read_text()), sent)))
    return 0


def _execute(address: Address, count: int, flame: Path | None, server: int) -> list[tuple[int, int]]:
    """When each request was sent and its answer read, in nanoseconds."""
    times: list[tuple[int, int]] = []
    with Client(address) as client:
        vm = client.post("/api/vms/create", {"name": "where", "language": "python"})["id"]
        request = address.render("POST", f"/api/vms/{vm}/execute", {"code": PYTHON.code})
        for _ in range(20):
            client.send(request)
        time.sleep(1)
        drawing = _draw(flame, server) if flame is not None else None
        while len(times) < count or (drawing is not None and drawing.poll() is None):
            began = time.monotonic_ns()
            client.send(request)
            times.append((began, time.monotonic_ns()))
        client.delete(f"/api/vms/{vm}")
    return times


def _draw(flame: Path, server: int) -> subprocess.Popen[bytes]:
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if spy is None:
        raise SystemExit("--flame needs py-spy: pip install py-spy")
    argv = [
        spy,
        "record",
        "--gil",
        "-r",
        "1000",
        "-d",
        "8",
        "-f",
        "flamegraph",
        "-o",
        str(flame),
        "-p",
        str(server),
    ]
    return subprocess.Popen(argv, executable=spy, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _executions(marks: Sequence[tuple[str, int]], sent: Sequence[tuple[int, int]]) -> list[Times]:
    """The marks of each execution, by the request that they lie in."""
    found: list[Times] = []
    position = 0
    for began, ended in sent:
        times: Times = {"request sent": began, "answer read": ended}
        while position < len(marks) and _before(marks, position, began):
            position += 1
        while position < len(marks) and not _after(marks, position, ended):
            name, at = marks[position]
            if name.startswith("row") and "order sent" in times:
                name = name.replace("row", "end")
            times.setdefault(name, at)
            position += 1
        if all(name in times for part in PARTS for name in part[:2]):
            found.append(times)
    return found


def _before(marks: Sequence[tuple[str, int]], position: int, at: int) -> bool:
    name, when = marks[position]
    return name == "program's time" or when < at


def _after(marks: Sequence[tuple[str, int]], position: int, at: int) -> bool:
    name, when = marks[position]
    return name != "program's time" and when > at


def _table(executions: Sequence[Times]) -> str:
    lines = ["| part | median, ms |", "|---|---|"]
    for begin, end, what in PARTS:
        median = statistics.median(times[end] - times[begin] for times in executions)
        lines.append(f"| {what} | {median / 1e6:.2f} |")
        if end == "end arrived":
            inside = statistics.median(times["program's time"] for times in executions)
            lines.append(
                f"| … of that, from the order to the program's end, by the agent | {inside / 1e6:.2f} |"
            )
    whole = statistics.median(times["answer read"] - times["request sent"] for times in executions)
    return "\n".join([*lines, f"| **all of it** ({len(executions)} executions) | **{whole / 1e6:.2f}** |"])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.where", description=__doc__)
    parser.add_argument("--backend", default="bubblewrap")
    parser.add_argument("--count", type=int, default=1000, help="executions")
    parser.add_argument("--flame", type=Path, metavar="FILE", help="draw the server's flame graph as SVG")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
