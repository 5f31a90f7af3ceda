"""A running machine with a client to its agent, and short ways to run things in it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.captured import Captured, run
from tests.conformance.backends import KEY, World
from vmpool.agent import Client, ProcessSpec, open_client
from vmpool.backends.base import Backend, BackendInfo, Machine, MachineKey, MachineSpec
from vmpool.domain import DEFAULT_MEMORY_LIMIT, LANGUAGES, Language
from vmpool.domain.language import VM_PATH
from vmpool.pool.runner import filled

HOME = "/home/user"
ENV = {
    "HOME": HOME,
    "USER": "user",
    "LOGNAME": "user",
    "PATH": VM_PATH,
    "LANG": "C.UTF-8",
    "TZ": "UTC",
}
_IDS = itertools.count(1)


def shell_spec(script: str, **more: Any) -> ProcessSpec:
    """A line for the shell."""
    return ProcessSpec(("/bin/sh", "-c", script), **{"env": ENV, "timeout": 50, **more})


def source_spec(
    language: Language, code: str, execution_id: int, *, memory: int = DEFAULT_MEMORY_LIMIT, **more: Any
) -> ProcessSpec:
    """Source text, as the pool lays it out."""
    scratch = f"/tmp/.vmpool-{execution_id}" if language.build or not language.beside else None
    source = (
        f"{HOME}/.vmpool-{execution_id}-{language.source}"
        if language.beside
        else f"{scratch}/{language.source}"
    )
    meant = {"{source}": source, "{scratch}": scratch or HOME, "{memory}": str(memory)}
    return ProcessSpec(
        argv=filled(language.run, meant),
        build=filled(language.build, meant),
        source=(source, code.encode()),
        scratch=scratch,
        **{"env": {**ENV, **language.env}, "timeout": 50, **more},
    )


@dataclass(slots=True)
class Box:
    """One machine.  memory: its limit in MB."""

    world: World
    backend: Backend
    info: BackendInfo
    machine: Machine
    client: Client
    memory: int

    @property
    def key(self) -> MachineKey:
        return self.machine.key

    async def sh(self, script: str, **more: Any) -> Captured:
        return await run(self.client, next(_IDS), shell_spec(script, **more))

    async def output(self, script: str, **more: Any) -> str:
        """Standard output of a line that must succeed."""
        captured = await self.sh(script, **more)
        assert captured.exit.exit_code == 0, captured
        return captured.stdout.decode().rstrip("\n")

    async def python(self, code: str, *, inline_limit: int = 1 << 20, **more: Any) -> Captured:
        return await self.code("python", code, inline_limit=inline_limit, **more)

    async def code(self, language: str, code: str, *, inline_limit: int = 1 << 20, **more: Any) -> Captured:
        number = next(_IDS)
        spec = source_spec(LANGUAGES[language], code, number, memory=self.memory, **more)
        return await run(self.client, number, spec, inline_limit=inline_limit)

    async def figure(self, code: str, **more: Any) -> int:
        """The integer a Python program prints."""
        captured = await self.python(code, **more)
        assert captured.exit.exit_code == 0, captured
        return int(captured.stdout)


def next_id() -> int:
    """An execution id nobody has used."""
    return next(_IDS)


@asynccontextmanager
async def open_box(
    world: World, key: MachineKey = KEY, spec: MachineSpec | None = None
) -> AsyncIterator[Box]:
    """Create a machine and connect; it is left to the world to destroy it."""
    async with world.backend() as backend:
        spec = spec or world.spec()
        machine = await backend.create(key, spec)
        async with open_client(lambda: backend.dial(key)) as client:
            await client.ping()
            yield Box(world, backend, await backend.describe(), machine, client, spec.limits.memory)


def limited(spec: MachineSpec, **limits: Any) -> MachineSpec:
    """The same machine with other limits."""
    return replace(spec, limits=replace(spec.limits, **limits))
