"""Load, made as leanly as it can be: it shares the cores with what it measures.

`drive` keeps one request in flight on each of many connections from one thread and one epoll; the requests
are made beforehand and an answer is only looked at as far as it must be.  `drive_calls` and `at_once` are
for contenders that only have a blocking call: a thread for each.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.figures import Figures, rate, summary

GRACE = 30.0
"""Seconds that requests in flight get at the end of a load before they count as failures."""

Parse = Callable[[bytearray], tuple[int, bool] | None]
"""Of what has arrived: None while the answer is incomplete, else its length and whether it is right."""


@dataclass(frozen=True)
class Line:
    """A connection on which one request after another is sent."""

    connect: Callable[[], socket.socket]
    request: bytes
    parse: Parse


class _Wire:
    """A line while it is driven."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.socket = line.connect()
        self.socket.settimeout(GRACE)
        self.buffer = bytearray()
        self.sent = 0.0

    def send(self) -> None:
        self.sent = time.perf_counter()
        with contextlib.suppress(OSError):  # a broken line is noticed where its answer is read
            self.socket.sendall(self.line.request)

    def receive(self) -> bytes:
        try:
            return self.socket.recv(1 << 18)
        except OSError:
            return b""


def drive(lines: Sequence[Line], seconds: float) -> Figures:
    """One request in flight on each line for `seconds`; a broken line stays broken and counts once."""
    wires = {wire.socket.fileno(): wire for wire in map(_Wire, lines)}
    try:
        return _drive(wires, seconds)
    finally:
        for wire in wires.values():
            wire.socket.close()


def _drive(wires: dict[int, _Wire], seconds: float) -> Figures:
    latencies: list[float] = []
    failures = 0
    poller = select.epoll()
    cpu = time.thread_time()
    started = time.perf_counter()
    deadline = started + seconds
    waiting = set(wires)
    for fd, wire in wires.items():
        poller.register(fd, select.EPOLLIN)
        wire.send()
    while waiting and (left := deadline + GRACE - time.perf_counter()) > 0:
        for fd, _ in poller.poll(left):
            wire = wires[fd]
            data = wire.receive()
            now = time.perf_counter()
            wire.buffer += data
            answer = wire.line.parse(wire.buffer) if data else (0, False)
            if answer is None:
                continue
            length, right = answer
            if right:
                latencies.append(now - wire.sent)
            else:
                failures += 1
            if data and now < deadline:
                del wire.buffer[:length]
                wire.send()
            else:
                poller.unregister(fd)
                waiting.discard(fd)
    elapsed = time.perf_counter() - started
    poller.close()
    return rate(latencies, failures + len(waiting), elapsed, time.thread_time() - cpu)


def drive_calls(calls: Sequence[Callable[[], object]], seconds: float) -> Figures:
    """Each call again and again in a thread of its own for `seconds`; one that raises is a failure."""
    latencies: list[float] = []
    failures: list[str] = []

    def again(call: Callable[[], object]) -> None:
        while time.perf_counter() < deadline:
            _timed(call, latencies, failures)

    cpu = time.process_time()
    started = time.perf_counter()
    deadline = started + seconds
    with ThreadPoolExecutor(len(calls)) as pool:
        list(pool.map(again, calls))
    elapsed = time.perf_counter() - started
    return rate(latencies, len(failures), elapsed, time.process_time() - cpu)


def at_once(calls: Sequence[Callable[[], object]], width: int | None = None) -> Figures:
    """Every call once, `width` at a time (default: all); `wall` is the time until the last has ended."""
    latencies: list[float] = []
    failures: list[str] = []
    width = width or len(calls)
    ready = threading.Barrier(width + 1)

    with ThreadPoolExecutor(width) as pool:
        for _ in range(width):  # every thread runs before the clock does
            pool.submit(ready.wait)
        ready.wait()
        started = time.perf_counter()
        futures = [pool.submit(_timed, call, latencies, failures) for call in calls]
        for future in futures:
            future.result()
        wall = time.perf_counter() - started
    return summary(latencies, len(failures)) | {"wall": wall}


def _timed(call: Callable[[], object], latencies: list[float], failures: list[str]) -> None:
    started = time.perf_counter()
    try:
        call()
    except Exception as error:  # whatever a contender raises is its failure, not the run's
        failures.append(str(error))
    else:
        latencies.append(time.perf_counter() - started)
