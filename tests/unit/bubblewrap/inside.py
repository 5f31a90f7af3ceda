"""Looking at a VM from inside (a shell, through the agent) and from outside (the host's /proc)."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
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


def files_below(directory: Path, suffix: str) -> Iterator[Path]:
    """Files with names that end so.  A directory may go away meanwhile, which `rglob` takes ill."""
    for below, _, names in os.walk(directory):
        yield from (Path(below, name) for name in names if name.endswith(suffix))


def mounted_images(state_dir: Path) -> list[str]:
    """Files below the state directory that a loop device holds.

    They are known by device and inode: where the directory is a mount of its own, the kernel's name for a
    file that was opened in another mount namespace begins there.
    """
    images = {}
    for path in files_below(state_dir, ".ext4"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            device = f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
            images[device, str(facts.st_ino)] = str(path)
    command = ["losetup", "--list", "--json", "--output", "BACK-MAJ:MIN,BACK-INO,BACK-FILE"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = []
    for loop in json.loads(listed)["loopdevices"] if listed else ():
        device, inode, name = (str(loop[column]) for column in ("back-maj:min", "back-ino", "back-file"))
        known = images.get((device.strip(), inode))
        if known or name.startswith(str(state_dir)):
            found.append(known or name)
    return found
