"""What is measured: a function for each scenario, which gives every contender its turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bench.run import Run
from bench.scenarios.cell import cell
from bench.scenarios.create import bursts, create, hundred, removal, warm_start
from bench.scenarios.execute import execute, nodejs
from bench.scenarios.memory import memory
from bench.scenarios.throughput import batch, output, throughput
from bench.scenarios.work import files, first_byte, fork, install, snapshots

SCENARIOS: Mapping[str, Callable[[Run], None]] = {
    "execute": execute,
    "throughput": throughput,
    "batch": batch,
    "nodejs": nodejs,
    "cell": cell,
    "first_byte": first_byte,
    "files": files,
    "fork": fork,
    "install": install,
    "snapshots": snapshots,
    "create": create,
    "warm_start": warm_start,
    "hundred": hundred,
    "removal": removal,
    "burst": bursts,
    "output": output,
    "memory": memory,
}
"""In their order: the first three share the sandboxes that stand ready."""
SHARED = ("execute", "throughput")
