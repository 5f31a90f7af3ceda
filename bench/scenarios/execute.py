"""One program after another in a sandbox that stands ready."""

from __future__ import annotations

from bench.contenders.base import Contender, Executes
from bench.run import Run


def execute(run: Run) -> None:
    """Every contender, the floors among them."""
    ready = run.prepared("execute", run.having(Executes))
    run.rounds("execute", ready, run.plan.execute_rounds, _once)


def nodejs(run: Run) -> None:
    """The same for Node.js, beside a bare start of it."""
    ready = run.prepared("nodejs", run.having(Executes, "nodejs"), sandboxes=1)
    run.rounds("nodejs", ready, run.plan.node_rounds, _once)
    run.close(ready)


def _once(contender: Contender) -> float:
    if not isinstance(contender, Executes):
        raise TypeError(contender.name)
    return contender.execute(0)
