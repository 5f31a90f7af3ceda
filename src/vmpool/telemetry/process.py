"""The server process's own figures, under the names every Prometheus client gives them."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import anyio
import psutil

from vmpool.telemetry.instruments import Family, Histogram, counter, gauge

LAG_EVERY = 0.5
"""Seconds between two looks at how late the event loop is."""


def process_families() -> Iterator[Family]:
    """CPU, memory, descriptors and threads of this process.  Reads a few files of /proc."""
    process = psutil.Process()
    with process.oneshot():
        times, memory = process.cpu_times(), process.memory_info()
        yield counter("process_cpu_seconds_total", "CPU time, user and system.", times.user + times.system)
        yield gauge("process_resident_memory_bytes", "Memory that is resident.", memory.rss)
        yield gauge("process_virtual_memory_bytes", "Address space.", memory.vms)
        yield gauge("process_start_time_seconds", "When it started, Unix time.", process.create_time())
        yield gauge("process_threads", "Threads.", process.num_threads())
    yield gauge("process_open_fds", "Open file descriptors.", len(list(Path("/proc/self/fd").iterdir())))
    yield gauge("process_max_fds", "Most file descriptors.", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


async def watch_loop(lag: Histogram) -> None:
    """Take how late the event loop wakes this task, for ever."""
    while True:
        due = anyio.current_time() + LAG_EVERY
        await anyio.sleep_until(due)
        lag.observe(max(0.0, anyio.current_time() - due))
