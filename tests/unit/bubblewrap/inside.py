"""Looking at a VM from inside (a shell, through the agent) and from outside (the host's /proc)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmpool.agent.base import Exit, Output, ProcessSpec
from vmpool.agent.client import open_client
from vmpool.backends.base import MachineKey
from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.argv import ENVIRONMENT

_ids = itertools.count(1)


@dataclass(frozen=True)
class Said:
    """What a command wrote and how it ended."""

    text: str
    exit_code: int


async def shell(backend: BubblewrapBackend, key: MachineKey, command: str, timeout: float = 30) -> Said:
    """Run a bash command in the VM; standard output and standard error together."""
    spec = ProcessSpec(argv=("bash", "-c", command), env=ENVIRONMENT, timeout=timeout)
    chunks = []
    async with open_client(lambda: backend.dial(key)) as agent:
        process = await agent.start(next(_ids), spec)
        async for event in process.events():
            match event:
                case Output(data=data):
                    chunks.append(data)
                case Exit() as ended:
                    return Said(b"".join(chunks).decode(errors="replace"), ended.exit_code)
    raise AssertionError("the execution never ended")


def _host_processes() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def processes_of(state_dir: Path) -> list[str]:
    """Host processes with something of the state directory mounted or open, or on their command line."""
    found = []
    for process in _host_processes():
        try:
            mounts = (process / "mountinfo").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if bytes(state_dir) in mounts or (bytes(state_dir) in command and b"pytest" not in command):
            found.append(command.decode(errors="replace"))
    return found


def mounted_images(state_dir: Path) -> list[str]:
    """Files below the state directory that a loop device holds."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            name = backing.read_text(encoding="utf-8").strip()
        except OSError:  # detached meanwhile
            continue
        if name.startswith(str(state_dir)):
            found.append(name)
    return found
