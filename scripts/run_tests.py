#!/usr/bin/env python3
"""Run the suite in two parts at the same time, or only what is named: run_tests.py [OPTION...] [PATH...].

Options are pytest's, written with `=`.  The parts take about equally long: what runs VMs through a backend
or a server, and the rest.  Much of each is waiting, so two cores have both done in little more than the
longer one's time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = str(ROOT / os.environ.get("VENV", ".venv") / "bin" / "pytest")
THROUGH_VMS = ("tests/conformance", "tests/e2e")


def run_both(options: list[str]) -> int:
    """Both parts; each line they print begins with its part's name."""
    parts = {"vms": [*THROUGH_VMS], "rest": [f"--ignore={path}" for path in THROUGH_VMS]}
    started = {name: begin([*options, *arguments]) for name, arguments in parts.items()}
    printing = [threading.Thread(target=hand_on, args=item) for item in started.items()]
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal tells both: they clean up and say how far they came
    for thread in printing:
        thread.start()
    for thread in printing:
        thread.join()
    statuses = {name: process.wait() for name, process in started.items()}
    print("exit status: " + ", ".join(f"{name} {status}" for name, status in statuses.items()))
    return max(map(abs, statuses.values()))


def begin(arguments: list[str]) -> subprocess.Popen[str]:
    """One pytest, to be read line by line."""
    return subprocess.Popen(
        [PYTEST, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )


def hand_on(name: str, process: subprocess.Popen[str]) -> None:
    """Print what it prints as whole lines."""
    assert process.stdout is not None
    for line in process.stdout:
        print(f"{name:4} | {line}", end="", flush=True)


if __name__ == "__main__":
    given = sys.argv[1:]
    if all(argument.startswith("-") for argument in given):
        sys.exit(run_both(given))
    os.chdir(ROOT)
    os.execv(PYTEST, [PYTEST, *given])
