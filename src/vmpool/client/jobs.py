"""Many runs of the same work, over templates, inputs or files: values and decisions, without I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from vmpool.client.errors import (
    ClientError,
    InfrastructureFailure,
    InternalError,
    LimitReached,
    PoolFull,
    ServerUnreachable,
    SetupFailed,
    StoreFailed,
    VMNotFound,
    VMNotRunning,
)
from vmpool.client.languages import SUFFIXES
from vmpool.client.models import Execution

AT_ONCE = 4
"""VMs of a run, where its caller says nothing."""
ATTEMPTS = 3
"""How often a job is begun that has no result."""
TTL = 3600
"""Seconds after which a VM of a run is deleted even if its client is gone."""
SETUP_SAID = 2000
"""Characters of what it said that are told when it fails: the end of it."""
PROJECT = "project"
"""The directory, in the home of a VM's user, where an uploaded project lies."""


@dataclass(frozen=True, slots=True)
class Job:
    """One execution that is to be made.  name: what it is called in reports, and by its duration.

    template: what its VM is made from.  code or command: as in `execute`.  input: a file that is put into the
    VM; the program finds its path in the variable `INPUT`.  expected: seconds it will take, where known.
    """

    name: str
    template: str
    code: str | None = None
    command: str | None = None
    language: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None
    input: Path | None = None
    expected: float | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of a job.  execution: None where it has no result; `problem` then says why.

    vm: the name of the VM it ran in last.  attempts: how often it was begun.  seconds: of the last time.
    """

    job: Job
    execution: Execution | None
    problem: ClientError | None
    vm: str | None
    attempts: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the program ran to its end and exited with 0."""
        return self.execution is not None and self.execution.ok


@dataclass(frozen=True, slots=True)
class JobChange:
    """That a job has begun in a VM (`result` None), or has ended.  place: of the job, counted from 0."""

    place: int
    vm: str | None
    result: JobResult | None = None


Told: TypeAlias = Callable[[JobChange], None]
"""Told of each change, in order."""


def unheard(change: JobChange) -> None:
    """Nobody wants to know."""


def order(jobs: Sequence[Job]) -> list[int]:
    """Places in the order in which jobs are begun: what nobody knows first, then the longest first."""
    return sorted(
        range(len(jobs)),
        key=lambda place: (jobs[place].expected is not None, -(jobs[place].expected or 0.0), place),
    )


def workers(jobs: Sequence[Job], vms: int) -> dict[str, int]:
    """How many VMs each template gets: at least one, no more than it has jobs, `vms` together if possible."""
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.template] = counts.get(job.template, 0) + 1
    given = dict.fromkeys(counts, 1)
    left = vms - len(given)
    while left > 0:
        wanting = [name for name in counts if given[name] < counts[name]]
        if not wanting:
            break
        # to whoever has most jobs for each of its VMs
        neediest = max(wanting, key=lambda name: counts[name] / given[name])
        given[neediest] += 1
        left -= 1
    return given


def language_of(template: str) -> str | None:
    """The language a built-in template is named after: `python3.13` is Python's.  None for a user's one."""
    found = re.fullmatch(r"([a-z]+)-?[0-9.]*", template)
    return found[1] if found is not None and found[1] in SUFFIXES.values() else None


def setup_failed(command: str, ran: Execution) -> SetupFailed:
    """What to raise after a setup that did not exit with 0."""
    lost = ran.state == "lost"
    how = "was lost" if lost else "timed out" if ran.timed_out else f"ended with exit code {ran.exit_code}"
    said = f"{ran.output or ''}{ran.error or ''}".strip()[-SETUP_SAID:]
    return SetupFailed(f"the setup '{command}' {how}" + (f":\n{said}" if said else ""), lost=lost)


def is_infrastructure(error: ClientError) -> bool:
    """Whether a job that ended so is to be run again: nothing of it says that the job is wrong."""
    if isinstance(error, SetupFailed):
        return error.retryable
    return isinstance(
        error,
        ServerUnreachable | InfrastructureFailure | StoreFailed | InternalError | VMNotFound | VMNotRunning,
    )


def is_crowded(error: ClientError) -> bool:
    """Whether there is no room for another VM now."""
    return isinstance(error, LimitReached | PoolFull)
