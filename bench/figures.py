"""What a measurement leaves: a flat table of numbers, the same in memory, in JSON and in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Figures = dict[str, float]
"""Of one contender in one scenario.  Times are seconds, sizes bytes; `failures` is always there."""

Results = Mapping[str, Mapping[str, Figures]]
"""Scenario, then contender."""

QUANTILES = {"min": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99, "max": 1.0}


def percentile(ordered: Sequence[float], share: float) -> float:
    """Nearest rank of an ascending, non-empty sequence."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(seconds: Sequence[float], failures: int = 0) -> Figures:
    """How many succeeded and failed, and the successes' quantiles; without a success no quantiles."""
    figures: Figures = {"n": len(seconds), "failures": failures}
    if seconds:
        ordered = sorted(seconds)
        figures |= {name: percentile(ordered, share) for name, share in QUANTILES.items()}
    return figures


def printed(seconds: float, length: int, size: int, *, said: bool = False) -> Figures:
    """Of a program that printed `size` bytes: `length` came back; fewer is a failure unless it was `said`."""
    return summary([seconds], int(length != size and not said)) | {"bytes": length}


def rate(latencies: Sequence[float], failures: int, elapsed: float, client_cpu: float) -> Figures:
    """Of a load: quantiles, successes a second, and the load generator's own share of one core.

    elapsed, client_cpu: seconds of wall and of CPU that the load took.
    """
    return summary(latencies, failures) | {
        "seconds": elapsed,
        "per_second": len(latencies) / elapsed,
        "client_cpu": client_cpu / elapsed,
    }


def joined(pieces: Sequence[Figures]) -> Figures:
    """Several pieces of one load as one: sums, means weighted by time, and the pieces' median quantiles."""
    if not pieces:
        return {"n": 0, "failures": 0}
    total = sum(piece["seconds"] for piece in pieces)
    done = sum(piece["n"] for piece in pieces)
    whole: Figures = {
        "n": done,
        "failures": sum(piece["failures"] for piece in pieces),
        "seconds": total,
        "per_second": done / total,
        "client_cpu": sum(piece["client_cpu"] * piece["seconds"] for piece in pieces) / total,
    }
    for name in QUANTILES:
        known = sorted(piece[name] for piece in pieces if name in piece)
        if known:
            whole[name] = percentile(known, 0.5)
    return whole
