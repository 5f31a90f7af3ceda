"""How long jobs took, kept in a file of the project, so that the next run begins with the longest."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from vmpool.client.jobs import JobResult

FILE = ".vmpool-durations.json"
MOST = 20_000
"""Durations kept in one file."""
LARGEST = 4 << 20
"""Bytes of a file that is read."""


def load(path: Path) -> dict[str, float]:
    """Seconds by job; nothing where the file is not there or is not one: it only makes runs shorter."""
    try:
        if path.stat().st_size > LARGEST:
            return {}
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {
        name: float(seconds)
        for name, seconds in said.items()
        if isinstance(seconds, int | float) and 0 <= seconds < float("inf")
    }


def merged(known: Mapping[str, float], results: Iterable[JobResult]) -> dict[str, float]:
    """What is known after a run; of each job half of what it took now and half of before."""
    found = dict(known)
    for result in results:
        if result.execution is not None:
            name = result.job.name
            now = result.seconds
            found[name] = round((found.get(name, now) + now) / 2, 3)
    return dict(sorted(found.items())[:MOST])


def save(path: Path, durations: Mapping[str, float]) -> None:
    """Write them, whole or not at all; OSError."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(durations, indent=0) + "\n", encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
