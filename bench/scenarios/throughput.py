"""Kept busy: sustained load, batches, and large output."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from bench.contenders.base import Batches, Loads, Prints
from bench.contenders.vmpool import VMPool
from bench.figures import Figures, joined, percentile, summary
from bench.run import Run
from bench.server import running_server

PIECES = 3
"""A minute is measured in pieces, with the other contenders' in between."""


def throughput(run: Run) -> None:
    """Executions a second over the prepared sandboxes."""
    ready = run.prepared("throughput", run.having(Loads))
    for in_flight in run.plan.in_flight:
        scenario = f"throughput_{in_flight}"
        pieces: dict[str, list[Figures]] = {loads.name: [] for loads in ready}
        for turn in range(PIECES):
            for loads in ready:
                if turn and not loads.sustained:
                    continue
                run.say(f"{scenario}: {loads.name}")
                whole = loads.sustained or loads.divisor
                seconds = run.plan.minute / PIECES if whole else run.plan.seconds
                piece = run.attempt(scenario, loads.name, partial(loads.load, in_flight, seconds))
                pieces[loads.name] += [piece] if piece else []
        for name, measured in pieces.items():
            if measured:
                run.record(scenario, name, joined(measured))


def batch(run: Run) -> None:
    """One call over many VMs."""
    for count in run.plan.batches:
        scenario = f"batch_{count}"
        ready = run.prepared(scenario, run.having(Batches), sandboxes=count)
        rounds: dict[str, list[Figures]] = {contender.name: [] for contender in ready}
        for _ in range(run.plan.batch_rounds):
            for contender in ready:
                run.say(f"{scenario}: {contender.name}")
                figures = run.attempt(scenario, contender.name, partial(contender.batch, count))
                rounds[contender.name] += [figures] if figures else []
        for name, measured in rounds.items():
            if not measured:
                continue
            whole = summary([figures["p50"] for figures in measured])
            whole["failures"] = sum(figures["failures"] for figures in measured)
            whole["first"] = percentile(sorted(figures["first"] for figures in measured), 0.5)
            run.record(scenario, name, whole)


def output(run: Run) -> None:
    """A program that prints 100 MB.  vmpool keeps the first by default: it is also measured keeping all."""
    size = run.plan.output
    with ExitStack() as stack:
        kept: list[Prints] = []
        for pool in run.having(VMPool):
            name = f"{pool.name}, all kept"
            found = run.attempt("output", name, partial(_keeping_all, stack, name, pool, size))
            kept += [found] if found else []
        contenders = run.prepared("output", [*run.having(Prints), *kept], sandboxes=1)
        for contender in contenders:
            run.say(f"output: {contender.name}")
            rounds = run.plan.output_rounds if isinstance(contender, VMPool) else 1
            measured = [
                figures
                for _ in range(rounds)
                if (figures := run.attempt("output", contender.name, partial(contender.output, size)))
            ]
            if measured:
                seconds = [figures["p50"] for figures in measured]
                failures = sum(figures["failures"] for figures in measured)
                figures = summary(seconds) | {"failures": failures, "bytes": measured[-1]["bytes"]}
                run.record("output", contender.name, figures)


def _keeping_all(stack: ExitStack, name: str, pool: VMPool, size: int) -> VMPool:
    settings = {**pool.server.settings, "OUTPUT__INLINE_LIMIT": str(2 * size)}
    return VMPool(name, stack.enter_context(running_server(pool.server.backend, settings)))
