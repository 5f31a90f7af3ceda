"""A process is its pid and its start: whoever has that pid later is not touched."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from vmpool.backends.bubblewrap import processes
from vmpool.backends.bubblewrap.processes import ProcessId


@pytest.fixture
def one() -> Iterator[ProcessId]:
    """A process that sleeps."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            status = processes._status_of(process.pid)
            assert status is not None
            yield ProcessId(process.pid, status[1])
        finally:
            process.kill()


def test_it_is_held_and_goes_on(one: ProcessId) -> None:
    assert processes.stop_all(one)
    assert psutil.Process(one.pid).status() == psutil.STATUS_STOPPED
    assert processes.usage(one).processes == 1
    processes.continue_all(one)
    assert psutil.Process(one.pid).status() != psutil.STATUS_STOPPED


def test_a_later_one_of_its_pid_is_neither_held_nor_counted(one: ProcessId) -> None:
    earlier = replace(one, start=one.start - 1)
    assert processes.stop_all(earlier)
    assert psutil.Process(one.pid).status() != psutil.STATUS_STOPPED
    assert processes.usage(earlier).processes == 0
    processes.stop_all(one)
    processes.continue_all(earlier)
    assert psutil.Process(one.pid).status() == psutil.STATUS_STOPPED
