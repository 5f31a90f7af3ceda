"""Many jobs while they run: a table that changes on a terminal, a line for each that ends elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vmpool.cli import render, results

if TYPE_CHECKING:
    from rich.table import Table

    from vmpool.client.jobs import JobChange, JobResult, Told

ROWS = 20
"""Of the table: what runs and what failed comes first."""


class _Board:
    """What is known of each job."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._running: dict[int, tuple[str, float]] = {}
        self._ended: dict[int, JobResult] = {}

    def take(self, change: JobChange) -> None:
        """Something has changed."""
        if change.result is None:
            self._running[change.place] = (change.vm or "", time.monotonic())
        else:
            self._running.pop(change.place, None)
            self._ended[change.place] = change.result

    def __rich__(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        from vmpool.client.reports import verdict

        passed = sum(result.ok for result in self._ended.values())
        failed = len(self._ended) - passed
        waiting = len(self._names) - len(self._ended) - len(self._running)
        table = Table(
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            pad_edge=False,
            title=f"{passed} passed, {failed} failed, {len(self._running)} running, {waiting} waiting",
            title_justify="left",
        )
        for heading in ("job", "vm", "state", "seconds"):
            table.add_column(heading)
        wrong = [(place, result) for place, result in self._ended.items() if not result.ok]
        for place, result in wrong[:ROWS]:
            name, vm = render.printable(self._names[place]), result.vm or ""
            table.add_row(Text(name), vm, Text(verdict(result), style="bold red"), f"{result.seconds:.1f}")
        for place, (vm, began) in list(self._running.items())[: ROWS - len(wrong[:ROWS])]:
            seconds = f"{time.monotonic() - began:.1f}"
            table.add_row(Text(render.printable(self._names[place])), vm, "running", seconds)
        return table


@contextmanager
def board(names: Sequence[str]) -> Iterator[Told]:
    """While the block lasts, what it yields is told of changes and shows them."""
    if not sys.stderr.isatty():
        yield _line
        return
    from rich.console import Console
    from rich.live import Live

    shown = _Board(names)
    with Live(shown, console=Console(stderr=True), transient=True, refresh_per_second=8):
        yield shown.take


def _line(change: JobChange) -> None:
    from vmpool.client.reports import verdict

    if change.result is not None:
        again = f", begun {change.result.attempts} times" if change.result.attempts > 1 else ""
        name = render.printable(change.result.job.name)
        render.note(f"vm: {name}: {verdict(change.result)}, {change.result.seconds:.1f} s{again}")


def summary(found: Sequence[JobResult]) -> None:
    """What came of all: failures first, jobs of which the same came together."""
    from vmpool.client.reports import groups, verdict

    for group in groups(found):
        names = ", ".join(render.printable(result.job.name) for result in group.results)
        many = f" ({len(group.results)} of {len(found)})" if len(group.results) > 1 else ""
        render.say(f"--- {names}{many}: {verdict(group.first)}")
        sys.stdout.flush()
        if group.first.execution is not None:
            results.replay(group.first.execution)
        elif group.first.problem is not None:
            render.note(f"vm: {group.first.problem.message}")
