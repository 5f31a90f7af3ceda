"""The promised ratios: computed from a run's figures, and met or not."""

from __future__ import annotations

import pytest

from bench.bars import BARS, Bar, best_rate, hundred, memory, ratio, removal, tail
from bench.contenders import names
from bench.figures import Figures, Results

RUN: dict[str, dict[str, Figures]] = {
    "execute": {
        names.BARE: {"p50": 0.010, "p99": 0.012},
        names.BUBBLEWRAP: {"p50": 0.002, "p99": 0.005},
        names.BUBBLEWRAP_SDK: {"p50": 0.005},
        names.DOCKER: {"p50": 0.004, "p99": 0.020},
        names.DOCKER_API: {"p50": 0.040},
    },
    "throughput_1": {names.SWE_REX: {"per_second": 60.0}, names.BUBBLEWRAP: {"per_second": 300.0}},
    "throughput_10": {
        names.SWE_REX: {"per_second": 80.0},
        names.BUBBLEWRAP: {"per_second": 640.0},
        names.FORKING: {"per_second": 800.0},
    },
    "create": {
        names.BARE: {"p50": 0.010},
        names.BUBBLEWRAP: {"p50": 0.020},
        names.DOCKER: {"p50": 0.3},
        names.DOCKER_CLI: {"p50": 0.2},
    },
    "warm_start": {names.WARM: {"p50": 0.010}, names.DOCKER_RUN: {"p50": 0.25}},
    "hundred": {
        names.BUBBLEWRAP: {"wall": 1.5, "failures": 0},
        names.BARE: {"wall": 0.6, "failures": 0},
    },
    "memory_100": {names.BUBBLEWRAP: {"unused": 400_000, "used": 7_500_000, "idle": 1_000_000}},
    "removal": {names.DOCKER: {"p50": 0.12}, names.DOCKER_CLI: {"p50": 0.1}},
    "upload": {names.DOCKER_WORK: {"p50": 0.6}, names.WORK_BUBBLEWRAP: {"p50": 0.3}},
    "download": {names.DOCKER_WORK: {"p50": 0.6}, names.WORK_BUBBLEWRAP: {"p50": 0.5}},
    "first_byte": {names.DOCKER_WORK: {"p50": 0.08}, names.WORK_DOCKER: {"p50": 0.006}},
    "install": {names.WORK_DOCKER: {"p50": 1.0, "first": 4.0, "last": 1.0}},
    "fork": {names.WORK_DOCKER: {"p50": 0.1, "wall": 3.0}},
    "fork_plain": {names.WORK_DOCKER: {"p50": 1.0, "wall": 1.0}},
    "nodejs": {
        names.BARE_NODE: {"p50": 0.04},
        names.NODE_BUBBLEWRAP: {"p50": 0.01},
        names.BARE_NODE_OF_IMAGE: {"p50": 0.05},
        names.NODE_DOCKER: {"p50": 0.03},
    },
}


def verdicts(results: Results) -> dict[str, tuple[float | None, bool | None]]:
    judged = [bar.judge(results) for bar in BARS]
    return {verdict.bar.what: (verdict.value, verdict.met) for verdict in judged}


@pytest.mark.parametrize(
    ("what", "value", "met"),
    [
        (f"execute ÷ bare `python3 -c`: {names.BUBBLEWRAP}", 0.2, True),
        (f"the tenth VM's `pip install requests` ÷ the first's: {names.WORK_DOCKER}", 0.25, True),
        (f"upload of a file, throughput ÷ `docker cp`'s: {names.WORK_BUBBLEWRAP}", 2.0, True),
        (f"download of a file, throughput ÷ `docker cp`'s: {names.WORK_BUBBLEWRAP}", 1.2, False),
        (f"first byte of an output ÷ `docker exec`'s: {names.WORK_DOCKER}", 0.075, True),
        (f"10 copies of a VM, all answered ÷ 10 plain creates: {names.WORK_DOCKER}", 3.0, False),
        (f"execute ÷ bare `python3 -c`: {names.DOCKER}", 0.4, False),
        (f"execute ÷ bare `python3 -c`: {names.BUBBLEWRAP_SDK}", 0.5, False),
        (f"execute ÷ bare `python3 -c`: {names.DOCKER_SDK}", None, None),
        (f"execute ÷ `docker exec` through the API: {names.BUBBLEWRAP}", 0.05, True),
        (f"execute ÷ `docker exec` through the API: {names.DOCKER}", 0.1, False),
        (f"execute, p99 ÷ p50, one at a time: {names.BUBBLEWRAP}", 2.5, True),
        (f"execute, p99 ÷ p50, one at a time: {names.DOCKER}", 5.0, False),
        (f"executions a second ÷ SWE-ReX's best: {names.BUBBLEWRAP}", 8.0, True),
        (f"executions a second ÷ SWE-ReX's best: {names.DOCKER}", None, None),
        (f"executions a second ÷ the forking interpreter's: {names.BUBBLEWRAP}", 0.8, True),
        ("create to first output, bubblewrap ÷ bare `python3 -c`", 2.0, True),
        ("create to first output, warm docker ÷ `docker run`", 0.04, True),
        ("create to first output, cold docker ÷ `docker run -d` + `docker exec`", 1.5, False),
        ("100 VMs from nothing, bubblewrap: failures", 0.0, True),
        ("100 VMs from nothing, all answered once ÷ 100 bare starts, two at a time", 2.5, True),
        (f"MB a VM at 100 VMs before first use: {names.BUBBLEWRAP}", 0.4, True),
        (f"MB a VM at 100 VMs after an execution: {names.BUBBLEWRAP}", 7.5, False),
        (f"MB a VM at 100 VMs after the idle policy: {names.BUBBLEWRAP}", 1.0, True),
        (f"MB a VM at 100 VMs after an execution: {names.DOCKER}", None, None),
        ("stop + delete, docker ÷ `docker rm -f`", 1.2, True),
        (f"execute ÷ bare `node -e`: {names.NODE_BUBBLEWRAP}", 0.25, True),
        (f"execute ÷ bare `node -e`: {names.NODE_DOCKER}", 0.6, False),
    ],
)
def test_bar(what: str, value: float | None, met: bool | None) -> None:
    assert verdicts(RUN)[what] == (None if value is None else pytest.approx(value), met)


def test_nothing_measured_is_nothing_judged() -> None:
    assert set(verdicts({}).values()) == {(None, None)}


def test_bars_have_names_of_their_own() -> None:
    assert len({bar.what for bar in BARS}) == len(BARS)


def test_a_lower_limit() -> None:
    bar = Bar("rate", 6, lambda run: run["x"]["y"]["z"], at_least=True)
    assert bar.judge({"x": {"y": {"z": 5.9}}}).met is False
    assert bar.judge({"x": {"y": {"z": 6.0}}}).met is True


def test_a_failure_of_the_hundred_misses_its_bar() -> None:
    run = {"hundred": {names.BUBBLEWRAP: {"wall": 1.0, "failures": 1.0}, names.BARE: {"wall": 1.0}}}
    assert verdicts(run)["100 VMs from nothing, bubblewrap: failures"] == (1.0, False)
    assert hundred(run) == 1.0


def test_one_function_a_bar() -> None:
    assert best_rate(RUN, names.SWE_REX) == 80.0
    assert best_rate(RUN, "nobody") is None
    assert memory(names.BUBBLEWRAP, "used")(RUN) == 7.5
    assert removal(RUN) == pytest.approx(1.2)
    assert tail(names.BUBBLEWRAP)(RUN) == 2.5
    assert ratio(1.0, 0.0) is None
    assert ratio(None, 1.0) is None
