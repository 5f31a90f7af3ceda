"""The live display: one line a VM, one bar for all."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table


class Progress:
    """What every VM is doing now; rich asks it to draw itself a few times a second."""

    def __init__(self, vms: Sequence[str], total: int) -> None:
        self._now = dict.fromkeys(vms, "")
        self._done = dict.fromkeys(vms, 0)
        self._failed = 0
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._bar.add_task("solved", total=total)

    def begin(self, vm: str, problem: str) -> None:
        """`vm` took up `problem`."""
        self._now[vm] = problem

    def end(self, vm: str, *, passed: bool) -> None:
        """`vm` is through with it."""
        self._done[vm] += 1
        self._failed += not passed
        self._bar.advance(self._task)

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for vm, problem in self._now.items():
            table.add_row(vm, f"{self._done[vm]:3d}", "▪" * self._done[vm], f"[dim]{problem}[/dim]")
        failures = [f"[red]{self._failed} failed[/red]"] if self._failed else []
        return Group(table, self._bar, *failures)
