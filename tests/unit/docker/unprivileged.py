"""Run by a test with less privilege than its own: a VM's life, and which way led to its agent."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from vmpool.agent.base import Exit, ProcessSpec
from vmpool.agent.client import open_client
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.docker import DockerBackend

KEY = MachineKey(1)


async def main(pool_id: str) -> None:
    async with DockerBackend(Path(), pool_id=pool_id) as backend:
        try:
            await backend.create(KEY, MachineSpec("box", "bash"))
            stream = await backend.dial(KEY)
            await stream.aclose()
            async with open_client(lambda: backend.dial(KEY)) as agent:
                process = await agent.start(1, ProcessSpec(("/bin/bash", "-c", "exit 7")))
                statuses = [event.status async for event in process.events() if isinstance(event, Exit)]
            usage = await backend.usage(KEY)
            print(type(stream).__name__, statuses, bool(usage.memory_bytes))  # noqa: T201 - its answer
        finally:
            await backend.destroy(KEY)


anyio.run(main, sys.argv[1])
