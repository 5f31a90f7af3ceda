"""The VM's first process as the host sees it: who it is, whether it lives, and its end."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from vmpool.backends.base import Usage

END_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for all time: pids are used again, a pid with its start time (clock ticks) is not."""

    pid: int
    start: int

    @property
    def alive(self) -> bool:
        """Whether it is there and not a zombie."""
        status = _status_of(self.pid)
        return status is not None and status[0] != "Z" and status[1] == self.start


def _status_of(pid: int) -> tuple[str, int] | None:
    """State letter and start time, or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def recorded(pidfile: Path) -> ProcessId | None:
    """What the launcher wrote, or None."""
    try:
        pid, start = pidfile.read_text(encoding="ascii").split()
        return ProcessId(int(pid), int(start))
    except (OSError, ValueError):
        return None


@contextmanager
def _pidfd(process: ProcessId) -> Iterator[int | None]:
    """A descriptor that means this process and no later one of the same pid; None if it is gone."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield fd if process.alive else None
    finally:
        os.close(fd)


def end(process: ProcessId, seconds: float = END_SECONDS) -> bool:
    """Kill it, and with it its whole PID namespace, and wait; whether it is gone.

    Blocks: run it in a thread.
    """
    with _pidfd(process) as fd:
        if fd is None:
            return True
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        return bool(poller.poll(seconds * 1000))


def _all_of(process: ProcessId) -> list[psutil.Process]:
    """Every process of the VM: what is in its PID namespace descends from the first one."""
    try:
        first = psutil.Process(process.pid)
        # From here on psutil knows this process from a later one of its pid; it may be one already.
        if not process.alive:
            return []
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def usage(process: ProcessId) -> Usage:
    """Figures summed over the VM's processes, where no cgroup counts them.  Blocks: run it in a thread."""
    cpu, memory, count = 0.0, 0, 0
    for one in _all_of(process):
        try:
            times = one.cpu_times()
            memory += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        cpu += times.user + times.system + times.children_user + times.children_system
        count += 1
    return Usage(cpu_seconds=cpu, memory_bytes=memory, processes=count)


def stop_all(process: ProcessId, seconds: float = 2.0) -> bool:
    """Hold every process of the VM by SIGSTOP until none is found running; whether that is so.

    The first process is held too: PID 1 cannot be stopped from inside, only from here.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        running = 0
        for one in _all_of(process):
            try:
                if one.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                    running += 1
                    one.send_signal(signal.SIGSTOP)
            except psutil.NoSuchProcess:
                continue
        if running == 0:
            return True
    return False


def continue_all(process: ProcessId) -> None:
    """Undo `stop_all`; a process that was stopped before goes on as well."""
    for one in _all_of(process):
        try:
            one.send_signal(signal.SIGCONT)
        except psutil.NoSuchProcess:
            continue
