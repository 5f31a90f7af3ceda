"""What a template is built from: a TOML file or a Dockerfile, read without asking anybody."""

from __future__ import annotations

import os
import tomllib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmpool.client.dockerfiles import NotTranslatable, translate

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


def read_template(
    path: Path, context: Path | None = None, arguments: Mapping[str, str] | None = None
) -> TemplateFile:
    """The file's content, with the files that its steps copy: TOML, or a Dockerfile by its name.

    context: where a Dockerfile copies from; default: where it lies.  arguments: of its ARG.
    NoTemplate, OSError.
    """
    if path.suffix != ".toml":
        return _dockerfile(path, context or path.parent, arguments)
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


def _dockerfile(path: Path, context: Path, arguments: Mapping[str, str] | None) -> TemplateFile:
    try:
        found = translate(path.read_text(encoding="utf-8"), context, arguments)
    except (NotTranslatable, UnicodeDecodeError) as error:
        raise NoTemplate(f"{path}: {error}") from error
    return TemplateFile(found.base, found.steps)


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


def encoded(target: str, source: Path) -> dict[str, dict[str, Any]]:
    """A file, or every file of a directory, as the API takes it.  OSError."""
    if not source.is_dir():
        return {target: _encoded(source)}
    found = {}
    for file in sorted(source.rglob("*")):
        if file.is_file():
            found[f"{target.rstrip('/')}/{file.relative_to(source)}"] = _encoded(file)
    return found


def _encoded(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = {"base64": b64encode(file.read_bytes()).decode()}
    return {**content, "executable": True} if os.access(file, os.X_OK) else content


def _known(path: Path, where: str, found: Mapping[str, Any], fields: frozenset[str]) -> None:
    for name in found:
        if name not in fields:
            raise NoTemplate(f"{path}: {where}'{name}' is none of {', '.join(sorted(fields))}")
