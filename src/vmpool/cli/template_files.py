"""What a template is built from: a TOML file, read without asking anybody."""

from __future__ import annotations

import tomllib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIELDS = frozenset({"from", "description", "language", "steps"})
STEP_FIELDS = frozenset({"packages", "manager", "files", "copy", "run", "env", "cwd", "timeout"})


class NoTemplate(Exception):
    """The file describes no template; the message names what is wrong, and where."""


@dataclass(frozen=True, slots=True)
class TemplateFile:
    """What such a file says.  steps: as the API takes them."""

    base: str
    steps: list[dict[str, Any]]
    description: str | None = None
    language: str | None = None


def read_template(path: Path) -> TemplateFile:
    """The file's content, with the files that its steps copy.  NoTemplate, OSError."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NoTemplate(f"{path}: {error}") from error
    _known(path, "", found, FIELDS)
    base = found.get("from")
    if not isinstance(base, str):
        raise NoTemplate(f'{path}: needs from = "...", the template it begins with')
    steps = found.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise NoTemplate(f"{path}: needs [[steps]], each with packages, files, copy or run")
    return TemplateFile(
        base,
        [_step(path, place, step) for place, step in enumerate(steps, 1)],
        found.get("description"),
        found.get("language"),
    )


def _step(path: Path, place: int, step: Mapping[str, Any]) -> dict[str, Any]:
    _known(path, f"step {place}: ", step, STEP_FIELDS)
    copied = step.get("copy")
    if copied is None:
        return dict(step)
    if not isinstance(copied, dict) or not all(isinstance(source, str) for source in copied.values()):
        raise NoTemplate(f'{path}: step {place}: copy takes {{ "path in the VM" = "path here" }}')
    files: dict[str, Any] = dict(step.get("files", {}))
    for target, source in copied.items():
        files |= encoded(target, path.parent / source)
    return {**{name: value for name, value in step.items() if name != "copy"}, "files": files}


def encoded(target: str, source: Path) -> dict[str, dict[str, str]]:
    """A file, or every file of a directory, as the API takes it.  OSError."""
    if not source.is_dir():
        return {target: {"base64": b64encode(source.read_bytes()).decode()}}
    found = {}
    for file in sorted(source.rglob("*")):
        if file.is_file():
            name = f"{target.rstrip('/')}/{file.relative_to(source)}"
            found[name] = {"base64": b64encode(file.read_bytes()).decode()}
    return found


def _known(path: Path, where: str, found: Mapping[str, Any], fields: frozenset[str]) -> None:
    for name in found:
        if name not in fields:
            raise NoTemplate(f"{path}: {where}'{name}' is none of {', '.join(sorted(fields))}")
