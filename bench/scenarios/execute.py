"""One program after another in a sandbox that stands ready."""

from __future__ import annotations

from bench.contenders.base import Contender, Executes
from bench.run import Run

TURN = 10
"""Executions in a row, as a program that uses a sandbox makes them."""
NODE_PAUSE = 0.3
"""Seconds between two executions."""


def execute(run: Run) -> None:
    """Every contender, the floors among them, in turns of a few calls."""
    ready = run.prepared("execute", run.having(Executes))
    run.rounds("execute", ready, run.plan.execute_rounds // TURN, _once, turn=TURN)


def nodejs(run: Run) -> None:
    """The same for Node.js, beside a bare start of it, with pauses.

    After each execution a process for the next one starts: without a pause it is the neighbour's figure that
    shows it, and executions back to back wait for it.
    """
    ready = run.prepared("nodejs", run.having(Executes, "nodejs"), sandboxes=1)
    for contender in ready:
        contender.settle = NODE_PAUSE
    run.rounds("nodejs", ready, run.plan.node_rounds, _once)
    run.close(ready)


def _once(contender: Contender) -> float:
    if not isinstance(contender, Executes):
        raise TypeError(contender.name)
    return contender.execute(0)
