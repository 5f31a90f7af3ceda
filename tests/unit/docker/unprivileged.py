"""Run by a test with less privilege than its own: a VM's life, and which ways led to and from its agent."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import anyio

from vmpool.agent.base import Exit, NetworkListen, ProcessSpec
from vmpool.agent.client import Client, open_client
from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.docker import DockerBackend

KEY = MachineKey(1)
CONNECT = "exec 3<>/dev/tcp/example.org/80 && read -r status <&3 && exit $status"


async def answered(agent: Client) -> str:
    """Where the first connection of a program was meant to go; it is told 7."""
    async for connection in agent.guest_connections():
        await connection.send(b"7\n")
        await connection.aclose()
        return f"{connection.host}:{connection.port}"
    return ""


async def main(directory: Path, pool_id: str) -> None:
    async with DockerBackend(directory, pool_id=pool_id) as backend:
        try:
            await backend.create(KEY, MachineSpec("box", "bash"))
            stream = await backend.dial(KEY)
            await stream.aclose()
            async with open_client(lambda: backend.dial(KEY)) as agent:
                await agent.open_network(NetworkListen(direct=(80,), resolver=True))
                process = await agent.start(1, ProcessSpec(("/bin/bash", "-c", CONNECT), timeout=20))
                with anyio.move_on_after(20):
                    print(await answered(agent))  # noqa: T201 - its answer
                statuses = [event.status async for event in process.events() if isinstance(event, Exit)]
            usage = await backend.usage(KEY)
            print(type(stream).__name__, statuses, bool(usage.memory_bytes))  # noqa: T201 - its answer
        finally:
            await backend.destroy(KEY)


with tempfile.TemporaryDirectory() as state:
    anyio.run(main, Path(state), sys.argv[1])
