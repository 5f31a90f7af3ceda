"""What a VM costs in memory: before its first use, after an execution, and once the idle policy has acted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from bench import memory as kernel
from bench.contenders.docker import docker_program
from bench.contenders.names import BUBBLEWRAP, DOCKER
from bench.contenders.vmpool import VMPool
from bench.figures import Figures
from bench.rest import Client
from bench.run import Run
from bench.server import COLD, Server, running_server

WIDTH = 4
"""Creates and executions in flight."""
STEADY = 0.02
"""Two looks a second apart that differ by less than this share see the end of what was going on."""
PATIENCE = 60.0
"""Seconds until a figure is taken as it is."""
WARM_PROCESSES = 2
"""Of each VM, at least, while its interpreter is warm: the agent and the interpreter."""


class TooBusy(Exception):
    """The machine is so busy that a figure would not mean what its name says."""


def memory(run: Run) -> None:
    """A server of its own for each count, so that its share can be told."""
    measured = [pool for pool in run.having(VMPool) if pool.name in (BUBBLEWRAP, DOCKER)]
    for pool in measured:
        backend = pool.server.backend
        most = run.plan.memory_most if pool.name == BUBBLEWRAP else 0
        for count in (*run.plan.memory, *((most,) if most else ())):
            scenario = f"memory_{count}"
            run.say(f"{scenario}: {pool.name}")
            figures = run.attempt(scenario, pool.name, partial(_measure, run, backend, count))
            if figures is not None:
                run.record(scenario, pool.name, figures)


def _measure(run: Run, backend: str, count: int) -> Figures:
    idle = 5 + count // 4 if count <= 200 else 0  # all are to be warm at one time
    before = kernel.namespaces()
    with running_server(backend, {**COLD, "WARM__IDLE_SECONDS": str(idle)}) as server:
        pool = VMPool("memory", server)
        pool.prepare(1)  # what the server loads at the first use is nobody's share
        pool.close()
        time.sleep(1.0)
        look = _Look(server, before, kernel.pss(kernel.tree(server.pid)))
        vms, failed = _each(server, [pool.make_whole] * count)
        figures: Figures = {"n": len(vms), "failures": failed}
        look.vms = [vm["container_id"] for vm in vms]
        figures |= look.steady("unused")
        _, failed = _each(server, [_runner(pool, vm["id"]) for vm in vms])
        figures["failures"] += failed
        figures |= look.steady("used")
        if figures["used_processes"] < WARM_PROCESSES:
            raise TooBusy("interpreters ended before the last VM was used: the figures would not be theirs")
        if idle:
            run.say(f"memory_{count}: {backend}: waiting for the idle policy")
            time.sleep(idle + 2.0)
            figures |= look.steady("idle")
        return figures


def _runner(pool: VMPool, vm: int) -> Callable[[Client], None]:
    return lambda client: pool.run(client, vm)


def _each(server: Server, calls: Sequence[Callable[[Client], Any]]) -> tuple[list[Any], int]:
    """Every call once with a connection: what they gave, and how many raised."""
    clients = [Client(server.address) for _ in range(WIDTH)]

    def one(call: Callable[[Client], Any]) -> Any:
        client = clients.pop()
        try:
            return call(client)
        except Exception as error:  # counted
            return error
        finally:
            clients.append(client)

    with ThreadPoolExecutor(WIDTH) as threads:
        outcomes = list(threads.map(one, calls))
    for client in clients:
        client.close()
    good = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    return good, len(outcomes) - len(good)


class _Look:
    """Reads the kernel's accounts of one server's VMs.  server: its PSS before there were any."""

    def __init__(self, server: Server, namespaces: set[str], baseline: int) -> None:
        self._server = server
        self._namespaces = namespaces
        self._baseline = baseline
        self.vms: list[str] = []

    def steady(self, phase: str) -> Figures:
        """Bytes a VM once they no longer change: `phase` is the sum, with its parts beside it."""
        deadline = time.monotonic() + PATIENCE
        last = self._figures(phase)
        while True:
            time.sleep(1.0)
            now = self._figures(phase)
            if abs(now[phase] - last[phase]) <= STEADY * last[phase] or time.monotonic() > deadline:
                return now
            last = now

    def _figures(self, phase: str) -> Figures:
        machines, shims = self._processes()
        count = max(1, len(self.vms))
        inside = kernel.pss(machines) / count
        share = max(0, kernel.pss(kernel.tree(self._server.pid)) - self._baseline) / count
        figures = {
            phase: inside + share,
            f"{phase}_inside": inside,
            f"{phase}_server": share,
            f"{phase}_processes": len(machines) / count,
        }
        if shims:
            figures[f"{phase}_shim"] = kernel.pss(shims) / count
        return figures

    def _processes(self) -> tuple[list[int], set[int]]:
        if self._server.backend == "docker":
            found = kernel.containers(docker_program() or "docker", self.vms)
            shims = {kernel.parent(pid) for _, pid in found}
            return kernel.in_cgroups([name for name, _ in found]), shims
        pools = {vm.partition("-")[0] for vm in self.vms}
        inside = kernel.in_cgroups([f"/{pool}/" for pool in pools])
        own = set(kernel.tree(self._server.pid))
        found_pids = inside or kernel.in_new_namespaces(self._namespaces)
        return [pid for pid in found_pids if pid not in own], set()
