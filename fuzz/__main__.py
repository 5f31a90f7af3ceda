"""Every fuzzer for a bounded time each, two at once: `python -m fuzz [--seconds 20] [NAME ...]`.

The C parsers of the agent run under libFuzzer with AddressSanitizer and UBSan, the Python ones under atheris.
What is found is in `.fuzz/NAME/` beside the corpus, which the next run goes on from; the exit status is 1.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fuzz.seeds import SEEDS

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".fuzz"
AT_ONCE = 2
SLOW_START = 120
"""Seconds to build and load, beside the fuzzing itself."""
IN_C = "agent"
_RUNS = re.compile(r"Done (\d+) runs|stat::number_of_executed_units:\s*(\d+)")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one target."""

    name: str
    status: int
    runs: int
    seconds: float
    log: str


def command(name: str, seconds: int) -> list[str]:
    """What runs one target."""
    if name == IN_C:
        return ["make", "--no-print-directory", "-C", str(ROOT / "agent"), "fuzz", f"FUZZ_SECONDS={seconds}"]
    corpus = WORK / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]()):
        (corpus / f"seed-{number}").write_bytes(seed)
    return [
        *(sys.executable, "-m", "fuzz.target", name),
        *(f"-max_total_time={seconds}", "-max_len=8192", "-timeout=20", "-rss_limit_mb=1024"),
        *(f"-artifact_prefix={WORK / name}{os.sep}", "-print_final_stats=1", str(corpus)),
    ]


def run(name: str, seconds: int) -> Result:
    """One target to its end."""
    began = time.monotonic()
    done = subprocess.run(
        command(name, seconds),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=8 * seconds + SLOW_START,
        check=False,
    )
    log = done.stdout.decode(errors="replace")
    runs = sum(int(first or second) for first, second in _RUNS.findall(log))
    return Result(name, done.returncode, runs, time.monotonic() - began, log)


def main() -> int:
    """Run what was asked for; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz what reads bytes of VMs.")
    parser.add_argument("names", nargs="*", choices=[[], IN_C, *SEEDS], metavar="NAME")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    asked = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    failed = 0
    with ThreadPoolExecutor(AT_ONCE) as threads:
        names = asked.names or [IN_C, *SEEDS]
        for result in threads.map(lambda name: run(name, asked.seconds), names):
            word = "ok" if result.status == 0 else "FOUND SOMETHING"
            print(f"{result.name:10} {result.runs:>10} runs {result.seconds:6.1f} s  {word}", flush=True)
            if result.status:
                failed += 1
                print(result.log[-6000:], flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
