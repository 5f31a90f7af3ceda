"""From nothing to the first output: one at a time, warm, in bursts, a hundred; and the way back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bench.contenders.bare import Bare
from bench.contenders.base import Contender, Creates
from bench.contenders.docker import DockerRun
from bench.contenders.names import BARE, BUBBLEWRAP, DOCKER, WARM
from bench.contenders.vmpool import VMPool
from bench.figures import Figures, percentile, summary
from bench.run import Run
from bench.server import WARM as WARM_SETTINGS
from bench.server import running_server

HUNDRED_WIDTH = 8
"""Creates in flight of the hundred: enough for two cores."""
REFILL_SECONDS = 1.0
"""Of quiet after a warm create."""
FILL_SECONDS = 8.0
"""Until ten containers wait."""


def create(run: Run) -> None:
    """A bare interpreter's start is its whole run, so that it can be the measure."""
    makers: list[Contender] = [*run.having(Bare), *(c for c in run.having(Creates) if not c.warm)]

    def once(contender: Contender) -> float:
        return contender.execute(0) if isinstance(contender, Bare) else _create_and_discard(contender)

    run.rounds("create", makers, run.plan.create_rounds, once, every=4)


def _create_and_discard(contender: Contender) -> float:
    if not isinstance(contender, Creates):
        raise TypeError(contender.name)
    seconds, sandbox = contender.create()
    contender.discard(sandbox)
    return seconds


def warm_start(run: Run) -> None:
    """A create that takes what was made beforehand, with time to refill before each, beside `docker run`."""
    with _warm_pool(run) as ours:
        peers = run.prepared("warm_start", [peer for peer in run.having(Creates) if peer.warm], sandboxes=1)
        contenders: list[Contender] = [*ours, *peers, *run.having(DockerRun)]

        def once(contender: Contender) -> float:
            seconds = _create_and_discard(contender)
            if contender.warm:
                time.sleep(REFILL_SECONDS)  # it refills now, and not while the next one is measured
            return seconds

        run.rounds("warm_start", contenders, run.plan.warm_rounds, once, every=1)


def bursts(run: Run) -> None:
    """So many creates at once; a contender is asked for no more than it is known to stand."""
    with _warm_pool(run) as ours:
        warm = run.prepared("filling", [maker for maker in run.having(Creates) if maker.warm])
        makers = [*(maker for maker in run.having(Creates) if not maker.warm), *warm, *ours]
        for count in run.plan.bursts:
            scenario = f"burst_{count}"
            for contender in makers:
                if count > contender.largest_burst:
                    continue
                run.say(f"{scenario}: {contender.name}")
                figures = run.attempt(scenario, contender.name, partial(contender.burst, count))
                if figures is None:  # it hung or died as a whole, which counted once
                    figures = {"n": 0, "failures": count - 1}
                run.record(scenario, contender.name, figures)
                time.sleep(REFILL_SECONDS)


@contextmanager
def _warm_pool(run: Run) -> Iterator[list[VMPool]]:
    """vmpool on docker with VMs that wait, as a list of one; empty where there is none."""
    if not any(pool.name == DOCKER for pool in run.having(VMPool)):
        yield []
    else:
        with running_server("docker", WARM_SETTINGS) as server:
            ours = VMPool(WARM, server)
            ours.warm = True
            ours.settle = 0.05
            run.contenders_seen.append(ours)
            run.say(f"filling {WARM}")
            time.sleep(FILL_SECONDS)
            yield [ours]


def hundred(run: Run) -> None:
    """A hundred VMs from nothing, all having answered once, beside a hundred bare starts two at a time."""
    pools = [pool for pool in run.having(VMPool) if pool.name == BUBBLEWRAP]
    bares = [bare for bare in run.having(Bare) if bare.name == BARE]
    walls: dict[str, list[Figures]] = {contender.name: [] for contender in (*pools, *bares)}
    count = run.plan.hundred
    for number in range(run.plan.hundred_rounds):
        run.say(f"hundred: round {number + 1} of {run.plan.hundred_rounds}")
        for pool in pools:
            figures = run.attempt("hundred", pool.name, partial(pool.many, count, HUNDRED_WIDTH))
            walls[pool.name] += [figures] if figures else []
        for bare in bares:
            figures = run.attempt("hundred", bare.name, partial(bare.starts, count, 2))
            walls[bare.name] += [figures] if figures else []
    for name, rounds in walls.items():
        if rounds:
            middle = percentile(sorted(figures["wall"] for figures in rounds), 0.5)
            failures = sum(figures["failures"] for figures in rounds)
            run.record("hundred", name, {"n": count, "failures": failures, "wall": middle})


def removal(run: Run) -> None:
    """Stop and delete, each contender in its own way; vmpool's two calls also apart."""
    makers = [contender for contender in run.having(Creates) if not isinstance(contender, DockerRun)]
    parts: dict[str, dict[str, list[float]]] = {"stop": {}, "delete": {}}

    def once(contender: Contender) -> float:
        if not isinstance(contender, Creates):
            raise TypeError(contender.name)
        _, sandbox = contender.create()
        if not isinstance(contender, VMPool):
            return contender.remove(sandbox)
        stop = contender.timed("POST", f"/api/vms/{sandbox}/stop")
        delete = contender.timed("DELETE", f"/api/vms/{sandbox}")
        parts["stop"].setdefault(contender.name, []).append(stop)
        parts["delete"].setdefault(contender.name, []).append(delete)
        return stop + delete

    ready = run.prepared("removal", [c for c in makers if c.warm], sandboxes=1)
    run.rounds(
        "removal", [c for c in makers if not c.warm or c in ready], run.plan.removal_rounds, once, every=5
    )
    for part, seconds in parts.items():
        for name, taken in seconds.items():
            run.record(part, name, summary(taken))
