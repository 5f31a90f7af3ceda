"""A cell of a kernel that remembers."""

from __future__ import annotations

from functools import partial

from bench.contenders.base import Contender
from bench.contenders.cells import Cells
from bench.run import Run

TURN = 10
"""Cells in a row."""


def cell(run: Run) -> None:
    """`x + 1`, from the request to its value, in turns with a bare Jupyter kernel."""
    kernels = run.having(Cells)
    begun = []
    for kernel in kernels:
        run.say(f"cell: starting {kernel.name}")
        if run.attempt("cell", kernel.name, partial(_begun, kernel)):
            begun.append(kernel)
    run.rounds("cell", begun, run.plan.execute_rounds // TURN, _once, turn=TURN)
    run.close(begun)


def _begun(kernel: Cells) -> bool:
    kernel.begin()
    return True


def _once(contender: Contender) -> float:
    if not isinstance(contender, Cells):
        raise TypeError(contender.name)
    return contender.cell()
