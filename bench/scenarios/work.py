"""What a place to work in is asked: files in and out, the beginning of an output, packages, copies of it."""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.contenders.base import Contender
from bench.contenders.work import VMPoolWork, Works
from bench.figures import Figures, summary
from bench.run import Run

PIECE_BYTES = 1 << 20
FORKED = "fork"
INSTALLED = "install"
PLAIN = "fork_plain"


def _begun(run: Run, scenario: str, kind: type[Works] = Works) -> list[Works]:
    begun: list[Works] = []
    for contender in run.having(kind):
        run.say(f"{scenario}: starting {contender.name}")
        if run.attempt(scenario, contender.name, partial(_ready, contender)):
            begun.append(contender)
    return begun


def _ready(contender: Works) -> bool:
    contender.begin()
    return True


def first_byte(run: Run) -> None:
    """From the request to the first of what a program prints that goes on running."""
    working = _begun(run, "first_byte")
    run.rounds("first_byte", working, run.plan.first_rounds, lambda works: _works(works).first_byte())
    run.close(working)


def files(run: Run) -> None:
    """One large file, which no one can compress, from the host's disk into a sandbox and back."""
    working = _begun(run, "files")
    with tempfile.TemporaryDirectory(prefix="vmpool-bench-") as directory:
        source, back = Path(directory, "source"), Path(directory, "back")
        with source.open("wb") as file:
            for _ in range(run.plan.file // PIECE_BYTES):
                file.write(os.urandom(PIECE_BYTES))

        def downloaded(contender: Contender) -> float:
            elapsed = _works(contender).download(back)
            if not filecmp.cmp(source, back, shallow=False):
                raise ValueError("what came back is not what went in")
            return elapsed

        run.rounds("upload", working, run.plan.file_rounds, lambda works: _works(works).upload(source))
        run.rounds("download", working, run.plan.file_rounds, downloaded)
    run.close(working)


def fork(run: Run) -> None:
    """Copies of a VM at once, in turns with as many plain ones; each answers."""
    working = [works for works in _begun(run, FORKED, VMPoolWork) if isinstance(works, VMPoolWork)]
    for works in working:
        _alternate(run, works, {FORKED: works.forked, PLAIN: works.plain})
    run.close(working)


def install(run: Run) -> None:
    """The same package in one fresh VM after the other: the first of a server's, and the rest."""
    working = [works for works in _begun(run, INSTALLED, VMPoolWork) if isinstance(works, VMPoolWork)]
    for works in working:
        run.say(f"install: {works.name}")
        found = run.attempt(INSTALLED, works.name, partial(_installs, works, run.plan.installs))
        if found:
            run.record(INSTALLED, works.name, found)
    run.close(working)


def _installs(works: VMPoolWork, number: int) -> Figures:
    took = [works.installed() for _ in range(number)]
    return summary(took[1:]) | {"first": took[0], "last": took[-1]}


def _alternate(run: Run, works: VMPoolWork, ways: dict[str, Callable[[int], Figures]]) -> None:
    measured: dict[str, list[Figures]] = {scenario: [] for scenario in ways}
    for number in range(run.plan.fork_rounds):
        run.say(f"fork: round {number + 1} of {run.plan.fork_rounds}")
        for scenario, way in ways.items():
            figures = run.attempt(scenario, works.name, partial(way, run.plan.forks))
            measured[scenario] += [figures] if figures else []
    for scenario, rounds in measured.items():
        if rounds:
            ordered = sorted(rounds, key=lambda figures: figures["wall"])
            median = ordered[len(ordered) // 2]
            run.record(scenario, works.name, median | {"failures": sum(one["failures"] for one in rounds)})


def _works(contender: Contender) -> Works:
    if not isinstance(contender, Works):
        raise TypeError(contender.name)
    return contender
