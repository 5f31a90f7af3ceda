"""Where the built guest agent lies.  It is compiled by `make agent` and carried by the wheels."""

from __future__ import annotations

import platform
from pathlib import Path

from vmpool.errors import BackendFailed

DIRECTORY = Path(__file__).resolve().parent.parent / "bin"


def path(machine: str | None = None) -> Path:
    """The agent for `machine` ("x86_64", "aarch64"; default: this host's); BackendFailed if there is none."""
    return _built("vmpool-agent", machine)


def launcher() -> Path:
    """The program that prepares a bubblewrap VM's mounts on this host; BackendFailed if there is none."""
    return _built("vmpool-launch", None)


def _built(name: str, machine: str | None) -> Path:
    machine = machine or platform.machine()
    found = DIRECTORY / f"{name}-{machine}"
    if not found.is_file():
        raise BackendFailed(f"there is no {name} for {machine}; build it with `make agent`")
    return found
