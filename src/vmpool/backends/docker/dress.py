"""Giving a running container another hostname and other limits, from the host it runs on.

The engine's own way takes 13 ms (it starts the runtime's program), and a hostname it cannot change at all.
The kernel takes both at once: the limits are a few files, and root on the host may enter the container's
UTS namespace.  The engine is told afterwards, before it could start the container again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmpool.backends.docker.local import CGROUPS, Init, NotLocal, cgroup_paths, cgroup_text, pinned
from vmpool.backends.kernel import CLONE_NEWUTS, setns
from vmpool.domain import Limits

CPU_PERIOD = 100_000
"""Microseconds, as the engine divides CPU time."""
_MB = 2**20


@dataclass(frozen=True, slots=True)
class Dress:
    """What a container is to have.  limits: None leaves them as they are."""

    hostname: str
    limits: Limits | None = None


def put_on(init: Init, hostname_file: Path, dress: Dress) -> None:
    """Set the hostname, the file that says it, and the limits.  Blocking: call it in a thread.

    hostname_file: what the engine mounts at /etc/hostname.  NotLocal where the container does not run, or
    one of these is not to be reached from here.
    """
    with pinned(init) as process:
        try:
            if dress.limits is not None:
                _limit(cgroup_paths(cgroup_text(process)), dress.limits)
            with _inside_uts(process):
                socket.sethostname(dress.hostname)
            # In place: the container has this very file mounted.
            with hostname_file.open("r+") as file:
                file.write(f"{dress.hostname}\n")
                file.truncate()
        except OSError as error:
            raise NotLocal(f"it cannot be changed from here: {error}") from error


@contextmanager
def _inside_uts(process: int) -> Iterator[None]:
    """This thread alone in the process's UTS namespace; it holds nothing but the hostname."""
    own = os.open("/proc/thread-self/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open("ns/uts", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
        try:
            setns(theirs, CLONE_NEWUTS)
        finally:
            os.close(theirs)
        try:
            yield
        finally:
            setns(own, CLONE_NEWUTS)
    finally:
        os.close(own)


def _limit(paths: dict[str, str], limits: Limits) -> None:
    """Write the cgroup's files, both versions."""
    if "memory" in paths:
        for controller, name, value in _files_v1(limits):
            directory = CGROUPS / controller / paths.get(controller, "/missing").lstrip("/")
            _write(directory / name, value)
        _limit_memory_v1(CGROUPS / "memory" / paths["memory"].lstrip("/"), limits.memory * _MB)
    elif "" in paths:
        unified = CGROUPS / paths[""].lstrip("/")
        for file, text in _files_v2(limits):
            _write(unified / file, text)
    else:
        raise NotLocal("the host's cgroups are not mounted at /sys/fs/cgroup")


def _files_v1(limits: Limits) -> list[tuple[str, str, int]]:
    """Controller, file and value of everything but memory."""
    return [
        ("cpu", "cpu.cfs_period_us", CPU_PERIOD),
        ("cpu", "cpu.cfs_quota_us", round(limits.cpu * CPU_PERIOD)),
        ("pids", "pids.max", limits.processes),
    ]


def _files_v2(limits: Limits) -> list[tuple[str, object]]:
    return [
        ("cpu.max", f"{round(limits.cpu * CPU_PERIOD)} {CPU_PERIOD}"),
        ("memory.max", limits.memory * _MB),
        ("pids.max", limits.processes),
    ]


def _limit_memory_v1(directory: Path, limit: int) -> None:
    """Memory alone may never exceed memory with swap, on the way neither."""
    memory, both = directory / "memory.limit_in_bytes", directory / "memory.memsw.limit_in_bytes"
    if not both.exists():  # the kernel does not account for swap
        _write(memory, limit)
        return
    growing = limit > int(memory.read_text())
    for file in (both, memory) if growing else (memory, both):
        _write(file, limit)


def _write(file: Path, value: object) -> None:
    # Not created where it is missing: that is another cgroup layout than we know.
    with file.open("r+") as opened:
        opened.write(str(value))
