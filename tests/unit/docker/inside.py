"""Running things in a VM through the real agent, for tests."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from vmpool.agent.base import Exit, Output, ProcessSpec
from vmpool.agent.client import Client, open_client
from vmpool.backends.base import MachineKey
from vmpool.backends.docker import DockerBackend
from vmpool.domain.language import VM_PATH

ENVIRONMENT = {"HOME": "/home/user", "PATH": VM_PATH, "LANG": "C.UTF-8"}
_ids = itertools.count(1)


@asynccontextmanager
async def agent_of(backend: DockerBackend, key: MachineKey) -> AsyncIterator[Client]:
    async with open_client(lambda: backend.dial(key)) as client:
        yield client


async def run(client: Client, *argv: str) -> tuple[str, Exit]:
    """Both outputs together, and how it ended."""
    process = await client.start(next(_ids), ProcessSpec(argv, ENVIRONMENT))
    output: list[bytes] = []
    async for event in process.events():
        if isinstance(event, Output):
            output.append(event.data)
        else:
            await process.release()
            return b"".join(output).decode(errors="replace"), event
    raise AssertionError("the events ended without an exit")


async def shell(client: Client, line: str) -> str:
    """What the line printed; it must succeed."""
    output, ended = await run(client, "/bin/sh", "-c", line)
    assert ended.exit_code == 0, (output, ended)
    return output
