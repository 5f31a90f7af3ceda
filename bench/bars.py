"""The promised ratios, each computed from one run's figures by a function of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench.contenders import names
from bench.figures import Results

MB = 1_000_000.0


@dataclass(frozen=True)
class Bar:
    """`measure` gives None where the run lacks a figure.  at_least: the limit is a lower one."""

    what: str
    limit: float
    measure: Callable[[Results], float | None]
    at_least: bool = False
    goal: float | None = None

    def judge(self, results: Results) -> Verdict:
        """Measured, and met or not."""
        value = self.measure(results)
        met = None if value is None else value >= self.limit if self.at_least else value <= self.limit
        return Verdict(self, value, met)


@dataclass(frozen=True)
class Verdict:
    """A bar in one run; `met` is None where it was not measured."""

    bar: Bar
    value: float | None
    met: bool | None


def figure(results: Results, scenario: str, contender: str, name: str = "p50") -> float | None:
    """One number of a run."""
    return results.get(scenario, {}).get(contender, {}).get(name)


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """None when either is missing or nothing can be divided by it."""
    return None if numerator is None or not denominator else numerator / denominator


def execute_to_bare(ours: str) -> Callable[[Results], float | None]:
    """Medians of executing, over a bare start."""
    return lambda run: ratio(figure(run, "execute", ours), figure(run, "execute", names.BARE))


def execute_to_docker_exec(ours: str) -> Callable[[Results], float | None]:
    """Medians of executing, over the engine's own exec through its API."""
    return lambda run: ratio(figure(run, "execute", ours), figure(run, "execute", names.DOCKER_API))


def tail(ours: str) -> Callable[[Results], float | None]:
    """99th percentile over median of executing one at a time."""
    return lambda run: ratio(figure(run, "execute", ours, "p99"), figure(run, "execute", ours))


def best_rate(results: Results, contender: str) -> float | None:
    """A contender's most executions a second at any number in flight."""
    found = (
        figure(results, scenario, contender, "per_second")
        for scenario in results
        if scenario.startswith("throughput_")
    )
    return max((value for value in found if value is not None), default=None)


def rate_to_best(ours: str, theirs: str) -> Callable[[Results], float | None]:
    """Best rate over best rate."""
    return lambda run: ratio(best_rate(run, ours), best_rate(run, theirs))


def create_to(scenario: str, ours: str, theirs: str) -> Callable[[Results], float | None]:
    """Medians of from nothing to the first output."""
    return lambda run: ratio(figure(run, scenario, ours), figure(run, scenario, theirs))


def removal(results: Results) -> float | None:
    """Stop and delete on docker over `docker rm -f`."""
    return ratio(figure(results, "removal", names.DOCKER), figure(results, "removal", names.DOCKER_CLI))


def hundred(results: Results) -> float | None:
    """Wall of a hundred VMs over a hundred bare starts, two at a time."""
    wall = figure(results, "hundred", names.BUBBLEWRAP, "wall")
    return ratio(wall, figure(results, "hundred", names.BARE, "wall"))


def hundred_failures(results: Results) -> float | None:
    """How many of the hundred did not answer."""
    return figure(results, "hundred", names.BUBBLEWRAP, "failures")


def memory(ours: str, phase: str) -> Callable[[Results], float | None]:
    """MB a VM at 100 VMs, its shim apart."""
    return lambda run: ratio(figure(run, "memory_100", ours, phase), MB)


def nodejs(ours: str, bare: str) -> Callable[[Results], float | None]:
    """Medians of executing Node.js over a bare start of the VM's own."""
    return lambda run: ratio(figure(run, "nodejs", ours), figure(run, "nodejs", bare))


def cell(ours: str) -> Callable[[Results], float | None]:
    """Medians of a cell, over a bare kernel's."""
    return lambda run: ratio(figure(run, "cell", ours), figure(run, "cell", names.KERNEL))


def first_byte(ours: str) -> Callable[[Results], float | None]:
    """Medians until the first of an output, over `docker exec`'s."""
    return lambda run: ratio(figure(run, "first_byte", ours), figure(run, "first_byte", names.DOCKER_WORK))


def copied(scenario: str, ours: str) -> Callable[[Results], float | None]:
    """Throughput of one file over `docker cp`'s of the same: its seconds over ours."""
    return lambda run: ratio(figure(run, scenario, names.DOCKER_WORK), figure(run, scenario, ours))


def forked(ours: str) -> Callable[[Results], float | None]:
    """Wall of ten copies of a VM over that of ten plain ones."""
    return lambda run: ratio(figure(run, "fork", ours, "wall"), figure(run, "fork_plain", ours, "wall"))


def snapshot(ours: str) -> Callable[[Results], float | None]:
    """Medians of a snapshot of a VM in which much has not changed, over those of one with nothing else."""
    return lambda run: ratio(figure(run, "snapshot", ours), figure(run, "snapshot_small", ours))


def installed(ours: str) -> Callable[[Results], float | None]:
    """The tenth VM's install over the first's."""
    return lambda run: ratio(figure(run, "install", ours, "last"), figure(run, "install", ours, "first"))


def _bars() -> Iterable[Bar]:
    for ours, sdk in ((names.BUBBLEWRAP, names.BUBBLEWRAP_SDK), (names.DOCKER, names.DOCKER_SDK)):
        yield Bar(f"execute ÷ bare `python3 -c`: {ours}", 0.3, execute_to_bare(ours))
        yield Bar(f"execute ÷ bare `python3 -c`: {sdk}", 0.45, execute_to_bare(sdk))
        yield Bar(
            f"execute ÷ `docker exec` through the API: {ours}", 0.08, execute_to_docker_exec(ours), goal=0.06
        )
        yield Bar(f"execute, p99 ÷ p50, one at a time: {ours}", 3, tail(ours))
        yield Bar(
            f"executions a second ÷ SWE-ReX's best: {ours}",
            6,
            rate_to_best(ours, names.SWE_REX),
            True,
            goal=8,
        )
        yield Bar(
            f"executions a second ÷ the forking interpreter's: {ours}",
            0.65,
            rate_to_best(ours, names.FORKING),
            True,
        )
    yield Bar(
        "create to first output, bubblewrap ÷ bare `python3 -c`",
        2.5,
        create_to("create", names.BUBBLEWRAP, names.BARE),
    )
    yield Bar(
        "create to first output, warm docker ÷ `docker run`",
        0.05,
        create_to("warm_start", names.WARM, names.DOCKER_RUN),
    )
    yield Bar(
        "create to first output, cold docker ÷ `docker run -d` + `docker exec`",
        1.0,
        create_to("create", names.DOCKER, names.DOCKER_CLI),
    )
    yield Bar("100 VMs from nothing, bubblewrap: failures", 0, hundred_failures)
    yield Bar("100 VMs from nothing, all answered once ÷ 100 bare starts, two at a time", 3, hundred)
    for ours, used in ((names.BUBBLEWRAP, 7), (names.DOCKER, 8)):
        yield Bar(f"MB a VM at 100 VMs before first use: {ours}", 1, memory(ours, "unused"))
        yield Bar(f"MB a VM at 100 VMs after an execution: {ours}", used, memory(ours, "used"))
        yield Bar(f"MB a VM at 100 VMs after the idle policy: {ours}", 1, memory(ours, "idle"))
    yield Bar("stop + delete, docker ÷ `docker rm -f`", 1.2, removal)
    for ours, bare in (
        (names.NODE_BUBBLEWRAP, names.BARE_NODE),
        (names.NODE_DOCKER, names.BARE_NODE_OF_IMAGE),
    ):
        yield Bar(f"execute ÷ bare `node -e`: {ours}", 0.5, nodejs(ours, bare))
    for ours in (names.CELLS_BUBBLEWRAP, names.CELLS_DOCKER):
        yield Bar(f"a context's cell `x + 1` ÷ the same on a bare Jupyter kernel: {ours}", 1.2, cell(ours))

    for ours in (names.WORK_BUBBLEWRAP, names.WORK_DOCKER):
        yield Bar(f"first byte of an output ÷ `docker exec`'s: {ours}", 0.1, first_byte(ours))
        for way in ("upload", "download"):
            yield Bar(f"{way} of a file, throughput ÷ `docker cp`'s: {ours}", 1.5, copied(way, ours), True)
        yield Bar(f"the tenth VM's `pip install requests` ÷ the first's: {ours}", 0.5, installed(ours))
        yield Bar(f"a snapshot with 1 GB unchanged ÷ one without: {ours}", 2, snapshot(ours))
        yield Bar(f"10 copies of a VM, all answered ÷ 10 plain creates: {ours}", 2, forked(ours))


BARS = tuple(_bars())
"""Every promised ratio, in the order in which they were promised."""
