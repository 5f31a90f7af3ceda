"""What is measured: each function takes all contenders and gives every one its turn in every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.contenders import EXPECTED, Contender

SANDBOXES = 10
Progress = Callable[[str], None]


@dataclass
class Samples:
    """Seconds of each success, and how many failed."""

    seconds: list[float] = field(default_factory=list)
    failures: int = 0

    def percentile(self, share: float) -> float | None:
        """Nearest rank; None without a success."""
        if not self.seconds:
            return None
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


Results = dict[str, Samples]


def execute(contenders: Sequence[Contender], rounds: int, progress: Progress) -> Results:
    """One program after another in a sandbox that stands ready."""
    results: Results = {contender.name: Samples() for contender in contenders}
    for number in range(rounds):
        progress(f"execute, round {number + 1} of {rounds}")
        for contender in contenders:
            samples = results[contender.name]
            started = time.perf_counter()
            output = contender.execute(0)
            elapsed = time.perf_counter() - started
            if output.strip() == EXPECTED:
                samples.seconds.append(elapsed)
            else:
                samples.failures += 1
    return results


def create(contenders: Sequence[Contender], rounds: int, progress: Progress) -> Results:
    """From nothing to the first output.  A bare interpreter's start is its whole run."""
    results: Results = {contender.name: Samples() for contender in contenders}
    for number in range(rounds):
        progress(f"create to first output, round {number + 1} of {rounds}")
        for contender in contenders:
            samples = results[contender.name]
            started = time.perf_counter()
            made = contender.create() or (contender.execute(0), lambda: None)
            elapsed = time.perf_counter() - started
            output, remove = made
            remove()
            if output.strip() == EXPECTED:
                samples.seconds.append(elapsed)
            else:
                samples.failures += 1
    return results


@dataclass
class Throughput:
    """Executions a second of each round, and how many failed in all."""

    per_second: list[float] = field(default_factory=list)
    failures: int = 0

    def median(self) -> float | None:
        """None without a round."""
        return sorted(self.per_second)[len(self.per_second) // 2] if self.per_second else None


def throughput(
    contenders: Sequence[Contender], rounds: int, seconds: float, progress: Progress
) -> dict[str, Throughput]:
    """Ten sandboxes at once, each with one program in flight, for `seconds` a round."""
    results = {contender.name: Throughput() for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            progress(f"throughput, round {number + 1} of {rounds}: {contender.name}")
            counts, elapsed = _ten_at_once(contender, seconds)
            result = results[contender.name]
            result.per_second.append(sum(good for good, _ in counts) / elapsed)
            result.failures += sum(bad for _, bad in counts)
    return results


def _ten_at_once(contender: Contender, seconds: float) -> tuple[list[tuple[int, int]], float]:
    started = time.perf_counter()
    deadline = started + seconds
    with ThreadPoolExecutor(SANDBOXES) as pool:
        futures = [pool.submit(_run_until, contender, number, deadline) for number in range(SANDBOXES)]
        counts = [future.result() for future in futures]
    return counts, time.perf_counter() - started


def _run_until(contender: Contender, sandbox: int, deadline: float) -> tuple[int, int]:
    good = bad = 0
    while time.perf_counter() < deadline:
        if contender.execute(sandbox).strip() == EXPECTED:
            good += 1
        else:
            bad += 1
    return good, bad
