"""`python -m bench`: measure every contender in one run, and write results, plots and the page."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench import plots, report
from bench.bars import BARS
from bench.lineup import lineup
from bench.machine import machine
from bench.plan import Plan
from bench.run import Run, say
from bench.scenarios import SCENARIOS, SHARED

CHECKOUT = Path(__file__).parent.parent


def main() -> int:
    """0 when no bar that could be measured was missed."""
    options = _parse()
    plan = Plan.quick() if options.quick else Plan()
    if options.minute is not None:
        plan = replace(plan, minute=options.minute)
    run = Run(plan, say)
    host = machine()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # by way of the clean-up
    started = time.monotonic()
    with lineup(run, lambda name: _wanted(name, options.contender)):
        gc.collect()
        gc.freeze()
        gc.disable()  # no pause of ours in anyone's figures
        for name, scenario in SCENARIOS.items():
            if name not in (options.scenario or SCENARIOS):
                continue
            run.attempt(name, "the scenario itself", partial(scenario, run))
            if name not in SHARED:
                run.close(run.contenders)
            gc.collect()
            host["took"] = f"{(time.monotonic() - started) / 60:.0f} minutes"
            # After each, so that a run that is broken off leaves what it had.
            _write(report.document(run, host), options.output, options.page)
        say("removing what was made")
    print(report.bars_table(run.results))
    return int(any(bar.judge(run.results).met is False for bar in BARS))


def _write(document: report.Document, output: Path, page: Path) -> None:
    report.write_json(output / "results.json", document)
    drawn = plots.draw(document["results"], output)
    page.parent.mkdir(parents=True, exist_ok=True)
    pictures = [(title, os.path.relpath(path, page.parent)) for title, path in drawn]
    page.write_text(report.page(document, pictures))


def _wanted(name: str, patterns: list[str] | None) -> bool:
    return not patterns or any(pattern.lower() in name.lower() for pattern in patterns)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few rounds: shows that all works, measures little"
    )
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="only this one; may be given several times"
    )
    parser.add_argument(
        "--contender",
        action="append",
        metavar="TEXT",
        help="only those with TEXT in their name; may be repeated",
    )
    parser.add_argument("--minute", type=float, help="seconds of sustained throughput (default 60)")
    parser.add_argument(
        "--output", type=Path, default=CHECKOUT / "bench" / "results", help="directory of JSON and plots"
    )
    parser.add_argument(
        "--page", type=Path, default=CHECKOUT / "docs" / "benchmarks.md", help="the page to write"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
