"""How a template is made step by step.  Pure values."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import accumulate
from typing import Any

from vmpool.errors import InvalidRequest

MAX_STEPS = 100
MAX_FILES = 1000
"""Of one step."""
SHOWN = 200
"""Characters of a step that are shown of it."""


class BuildState(StrEnum):
    """Stored in `template_builds.state`."""

    BUILDING = "building"  # or a server that ended meanwhile left it so, which the next one settles
    READY = "ready"  # there is a template
    FAILED = "failed"  # `failure` says why, `step` where
    CANCELLED = "cancelled"  # by its user


@dataclass(frozen=True, slots=True)
class Step:
    """One step: exactly one of `packages`, `files` and `run`.

    packages: installed by `manager`, None: that of the language.  files: Base64 of their content, by path in
    the VM, relative to the home directory; those of `executable` can be run.  run: a shell command line.
    env, cwd: of `run`.  timeout: seconds of the step; None: the server's default.
    """

    packages: tuple[str, ...] = ()
    manager: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    executable: tuple[str, ...] = ()
    run: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    timeout: float | None = None

    def __str__(self) -> str:
        """What is shown of it, on one line."""
        if self.run is not None:
            said = f"run {self.run}"
        elif self.packages:
            said = f"packages {' '.join(self.packages)}"
        else:
            said = f"files {' '.join(self.files)}"
        said = " ".join(said.split())
        return said if len(said) <= SHOWN else f"{said[: SHOWN - 3]}..."

    def as_dict(self) -> dict[str, Any]:
        """The fields that are given, as JSON has them."""
        return {name: value for name, value in asdict(self).items() if value not in (None, (), {})}


@dataclass(frozen=True, slots=True)
class NewBuild:
    """A template that is to be built.

    base: the template it begins with, by id or name.  language: None takes that one's.  replace: the user's
    template of the same name, if there is one, makes way once this is ready.  fresh: as if nothing of it had
    been built before.
    """

    user_id: int
    name: str
    base: str
    steps: tuple[Step, ...]
    description: str = ""
    language: str | None = None
    replace: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Build:
    """One build.  steps: what is shown of each.  step: how many are done: the place of one that failed.

    failure: why there is no template; of a step that failed, the end of what it wrote.  template_id: what
    came of it.
    """

    id: int
    user_id: int
    name: str
    description: str
    base: str
    language: str | None
    steps: tuple[str, ...]
    replace: bool
    state: BuildState
    step: int
    failure: str | None
    template_id: int | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Layer:
    """What is kept after a step, for builds that begin with the same steps.  size: bytes."""

    id: int
    user_id: int
    digest: str
    snapshot_id: int
    size: int


def check_steps(steps: Sequence[Step]) -> None:
    """InvalidRequest unless each does exactly one thing."""
    if not 1 <= len(steps) <= MAX_STEPS:
        raise InvalidRequest("steps", f"must be 1 to {MAX_STEPS}")
    for place, step in enumerate(steps):
        where = f"steps.{place}"
        if bool(step.packages) + bool(step.files) + (step.run is not None) != 1:
            raise InvalidRequest(where, "must have exactly one of packages, files and run")
        if step.manager is not None and not step.packages:
            raise InvalidRequest(f"{where}.manager", "is for packages only")
        if (step.env or step.cwd is not None) and step.run is None:
            raise InvalidRequest(where, "has env or cwd, which are for run only")
        if len(step.files) > MAX_FILES:
            raise InvalidRequest(f"{where}.files", f"must be at most {MAX_FILES}; upload an archive instead")
        for path, content in step.files.items():
            _check_content(f"{where}.files", path, content)
            if not path or "\0" in path or path.endswith("/") or not path.isprintable():
                raise InvalidRequest(f"{where}.files", f"'{path[:80]!r}' is not a path of a file")


def _check_content(where: str, path: str, content: str) -> None:
    try:
        b64decode(content, validate=True)
    except ValueError as error:
        raise InvalidRequest(where, f"'{path[:80]}' is not Base64: {error}") from error


def digests(begins: str, steps: Sequence[Step]) -> list[str]:
    """What names the state after each step: equal where it began with the same and did the same.

    begins: names what the first step finds.
    """

    def after(before: str, step: Step) -> str:
        said = {name: value for name, value in step.as_dict().items() if name != "timeout"}
        text = json.dumps([before, said], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    start = hashlib.sha256(begins.encode()).hexdigest()
    return list(accumulate(steps, after, initial=start))[1:]
