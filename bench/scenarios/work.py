"""What a place to work in is asked: files in and out, the beginning of an output, packages, copies of it."""

from __future__ import annotations

import filecmp
import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import reflinks
from bench.contenders.base import Contender
from bench.contenders.work import VMPoolWork, Works
from bench.figures import Figures, summary
from bench.run import Run
from bench.server import running_server

PIECE_BYTES = 1 << 20
FORKED = "fork"
INSTALLED = "install"
BUBBLEWRAP = "bubblewrap"
PLAIN = "fork_plain"
SNAPSHOT, SNAPSHOT_SMALL = "snapshot", "snapshot_small"
ROOM_MB = 8 << 10


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


def snapshots(run: Run) -> None:
    """Of a VM with much that has not changed and 1 MB that has, and of one with that 1 MB alone.

    bubblewrap's VMs lie on a file system with reflinks; docker has layers.
    """
    working = [works for works in _begun(run, SNAPSHOT, VMPoolWork) if isinstance(works, VMPoolWork)]
    for works in working:
        with ExitStack() as stack:
            placed = run.attempt(SNAPSHOT, works.name, partial(_placed, stack, works))
            if placed is None:
                continue
            for scenario, size in ((SNAPSHOT, run.plan.unchanged), (SNAPSHOT_SMALL, 0)):
                run.say(f"{scenario}: {works.name}")
                took = run.attempt(
                    scenario, works.name, partial(placed.snapshots, size, run.plan.snapshot_rounds)
                )
                if took:
                    run.record(scenario, works.name, summary(took))
    run.close(working)


def _placed(stack: ExitStack, works: VMPoolWork) -> VMPoolWork:
    if works.server.backend != BUBBLEWRAP:
        return works
    why_not = reflinks.why_not()
    if why_not is not None:
        raise RuntimeError(why_not)
    where = stack.enter_context(reflinks.file_system(ROOM_MB))
    server = stack.enter_context(running_server(BUBBLEWRAP, works.server.settings, where))
    return VMPoolWork(works.name, server)


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
