"""`python -m bench.peer_worker PEER IMAGE`: a command a line on standard input, an answer a line back.

A command is `{"do": NAME, ...arguments}`; the answer `{"result": ...}` or `{"error": TEXT}`.  The worker
reads the clock, so that the pipe costs a peer nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import count
from typing import Any

from bench.figures import Figures, printed, rate, summary
from bench.peer_worker.autogen import Autogen
from bench.peer_worker.base import Peer, Sandbox
from bench.peer_worker.llm_sandbox import LLMSandboxBubblewrap, LLMSandboxDocker, LLMSandboxPool
from bench.peer_worker.smolagents import Smolagents
from bench.peer_worker.swe_rex import SWEReX
from bench.program import PYTHON, check, printing

PEERS: dict[str, Callable[[str], Peer]] = {
    "llm-sandbox-docker": LLMSandboxDocker,
    "llm-sandbox-pool": LLMSandboxPool,
    "llm-sandbox-bubblewrap": LLMSandboxBubblewrap,
    "autogen": Autogen,
    "swe-rex": SWEReX,
    "smolagents": Smolagents,
}


class Worker:
    """The commands; each method's name is a command's."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._ready: list[Sandbox] = []
        self._made: dict[str, Sandbox] = {}
        self._names = count()

    async def version(self) -> str:
        return f"{self._peer.distribution} {version(self._peer.distribution)}"

    async def prepare(self, sandboxes: int) -> None:
        await self._peer.make_ready(2 * sandboxes)  # as many again for creates
        while len(self._ready) < sandboxes:
            self._ready.append(await self._peer.make())
            await self.execute(len(self._ready) - 1)

    async def execute(self, sandbox: int) -> float:
        started = time.perf_counter()
        output = await self._peer.run(self._ready[sandbox], PYTHON.code)
        elapsed = time.perf_counter() - started
        check(output)
        return elapsed

    async def create(self) -> tuple[float, str]:
        name = str(next(self._names))
        started = time.perf_counter()
        sandbox = self._made[name] = await self._peer.make()
        output = await self._peer.run(sandbox, PYTHON.code)
        elapsed = time.perf_counter() - started
        check(output)
        return elapsed, name

    async def remove(self, sandbox: str) -> float:
        started = time.perf_counter()
        await self._peer.destroy(self._made.pop(sandbox))
        return time.perf_counter() - started

    async def burst(self, count: int) -> Figures:
        started = time.perf_counter()
        outcomes = await asyncio.gather(*(self.create() for _ in range(count)), return_exceptions=True)
        wall = time.perf_counter() - started
        made = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        await asyncio.gather(*(self.remove(name) for _, name in made), return_exceptions=True)
        return summary([seconds for seconds, _ in made], count - len(made)) | {"wall": wall}

    async def load(self, in_flight: int, seconds: float) -> Figures:
        latencies: list[float] = []
        failures = 0

        async def again(sandbox: int) -> None:
            nonlocal failures
            while time.perf_counter() < deadline:
                try:
                    latencies.append(await self.execute(sandbox))
                except Exception:  # whatever it raises is the peer's failure
                    failures += 1

        cpu = time.process_time()
        started = time.perf_counter()
        deadline = started + seconds
        await asyncio.gather(*(again(number % len(self._ready)) for number in range(in_flight)))
        elapsed = time.perf_counter() - started
        return rate(latencies, failures, elapsed, time.process_time() - cpu)

    async def output(self, size: int) -> Figures:
        started = time.perf_counter()
        output = await self._peer.run(self._ready[0], printing(size).code)
        return printed(time.perf_counter() - started, len(output), size)


async def serve(worker: Worker, answer: Callable[[object], None]) -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(128))
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command: dict[str, Any] = json.loads(line)
        method: Callable[..., Awaitable[Any]] = getattr(worker, command.pop("do"))
        try:
            answer({"result": await method(**command)})
        except Exception as error:  # whatever it raises is the peer's failure
            answer({"error": f"{type(error).__name__}: {error}"[:500]})


def main() -> None:
    """Answers go to the first standard output; what a peer prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, image = sys.argv[1:]

    def answer(value: object) -> None:
        answers.write(json.dumps(value) + "\n")

    asyncio.run(serve(Worker(PEERS[name](image)), answer))


if __name__ == "__main__":
    main()
    os._exit(0)  # no peer's thread or exit handler keeps us: what is left is swept from outside
