"""A Dockerfile as the steps of a template: the part of it that a VM's user can do.

FROM, RUN, COPY, ENV, WORKDIR and ARG are understood, as the reference of Dockerfiles has them.  Anything else
is refused with what to do instead, since a template that is not what its file says is worse than none.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
import shlex
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

HOME = "/home/user"
"""Where a VM's user is, and where steps begin."""
WRITABLE = (HOME, "/tmp")
"""Where that user may write on every backend."""
LARGEST_CONTEXT = 12 << 20
"""Bytes that all that is copied may have together: it goes with the request."""
_VARIABLE = re.compile(r"\\\$|\$(?:\{(\w+)(?::([-+])([^}]*))?\}|(\w+))")
_REMEDIES: Mapping[str, str] = {
    "ADD": "use COPY, or RUN with curl or tar",
    "CMD": "leave it out: a VM runs what it is given",
    "ENTRYPOINT": "leave it out: a VM runs what it is given",
    "EXPOSE": "leave it out: every port of a VM can be reached ('vm forward', 'vm share')",
    "HEALTHCHECK": "leave it out: a VM has no service of its own",
    "LABEL": "leave it out, or use --description",
    "MAINTAINER": "leave it out, or use --description",
    "ONBUILD": "put the instruction where it is to be done",
    "SHELL": "write RUN with the other shell's name, as in RUN bash -c '...'",
    "STOPSIGNAL": "leave it out",
    "USER": "leave it out: steps run as the VM's own user, never as root",
    "VOLUME": "leave it out: all of a VM's files stay",
}


class NotTranslatable(Exception):
    """This Dockerfile cannot be built in a VM; the message names the line and what to do instead."""


@dataclass(slots=True)
class Translation:
    """What a Dockerfile says.  steps: as the API takes them."""

    base: str = ""
    steps: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _State:
    context: Path
    cwd: str = HOME
    env: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, str] = field(default_factory=dict)
    copied: int = 0


def translate(text: str, context: Path, arguments: Mapping[str, str] | None = None) -> Translation:
    """The template a Dockerfile describes.

    context: the directory COPY reads from; nothing outside it is read.  arguments: values of ARG.
    Raises NotTranslatable, and OSError for what cannot be read.
    """
    found, state = Translation(), _State(context.resolve())
    given = dict(arguments or {})
    for line, instruction, rest in instructions(text):
        try:
            _one(found, state, instruction, rest, given)
        except NotTranslatable as error:
            raise NotTranslatable(f"line {line}: {instruction} {error}") from error
    if not found.base:
        raise NotTranslatable("it has no FROM, the template it begins with")
    if not found.steps:
        raise NotTranslatable("it does nothing: there is neither RUN nor COPY")
    return found


def instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """Each instruction with its line, its name and the rest of it, continued lines joined."""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = line.strip()
        while whole.endswith("\\"):
            whole = whole[:-1]
            for _, more in lines:
                if more.strip() and not more.lstrip().startswith("#"):
                    whole += more.strip()
                    break
            else:
                break
        name, _, rest = whole.partition(" ")
        yield number, name.upper(), rest.strip()


def _one(found: Translation, state: _State, instruction: str, rest: str, given: Mapping[str, str]) -> None:
    if not found.base and instruction not in ("FROM", "ARG"):
        raise NotTranslatable("comes before FROM")
    match instruction:
        case "FROM":
            _from(found, state, rest)
        case "ARG":
            name, _, default = rest.partition("=")
            state.arguments[name] = given.get(name, _expanded(_word(default), state))
        case "ENV":
            state.env |= _pairs(rest, state)
        case "WORKDIR":
            state.cwd = _reachable(state, _expanded(_word(rest), state))
            found.steps.append({"run": f"mkdir -p {shlex.quote(state.cwd)}"})
        case "RUN":
            found.steps.append(_run(state, rest))
        case "COPY":
            found.steps.append({"files": _copied(state, rest)})
        case _:
            remedy = _REMEDIES.get(instruction, "it is no instruction of a Dockerfile that is known here")
            raise NotTranslatable(f"cannot be done in a VM: {remedy}")


def _from(found: Translation, state: _State, rest: str) -> None:
    words = rest.split()
    if found.base:
        raise NotTranslatable("comes twice: build one template from the other, each with a file of its own")
    if len(words) != 1:
        raise NotTranslatable("takes the name of one template, as in FROM python")
    found.base = _expanded(words[0], state).removeprefix("vmpool/")
    if "/" in found.base or ":" in found.base:
        raise NotTranslatable(
            f"'{found.base}' names an image, and VMs start from templates: take one of 'vm pool' or"
            " 'vm template list', such as python3.13"
        )


def _run(state: _State, rest: str) -> dict[str, Any]:
    if rest.startswith("--"):
        raise NotTranslatable(f"has the option {rest.split()[0]}, which needs Docker's own builder")
    if rest.startswith("<<"):
        raise NotTranslatable("is a here-document: write the commands with && and \\")
    if rest.startswith("["):
        try:
            words = json.loads(rest)
        except ValueError:
            words = None
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            rest = shlex.join(words)
    step: dict[str, Any] = {"run": rest}
    if state.cwd != HOME:
        step["cwd"] = state.cwd
    if variables := {**state.arguments, **state.env}:
        step["env"] = variables
    return step


def _reachable(state: _State, path: str) -> str:
    """The path in the VM; NotTranslatable where its user may not write."""
    whole = posixpath.normpath(posixpath.join(state.cwd, path))
    for top in WRITABLE:
        if whole == top or whole.startswith(f"{top}/"):
            return whole
    raise NotTranslatable(
        f"'{whole}' is not a VM's user's: take a path below {' or '.join(WRITABLE)}, such as {HOME}{whole}"
    )


def _copied(state: _State, rest: str) -> dict[str, dict[str, Any]]:
    if rest.startswith("["):
        words = json.loads(rest)
    else:
        words = shlex.split(_expanded(rest, state))
    for word in words:
        if word.startswith("--"):
            raise NotTranslatable(f"has the option {word.split('=')[0]}: copied files are the VM's user's")
    if len(words) < 2:
        raise NotTranslatable("takes at least a path here and one in the VM")
    *sources, target = words
    into = target.endswith("/") or len(sources) > 1 or target in (".", "./")
    target = _reachable(state, target)
    files: dict[str, dict[str, Any]] = {}
    for pattern in sources:
        matched = list(_matching(state.context, pattern))
        if not matched:
            raise NotTranslatable(f"finds no '{pattern}' in {state.context}")
        for path in matched:
            for name, file in _files(path, target, into or len(matched) > 1):
                content = file.read_bytes()
                state.copied += len(content)
                if state.copied > LARGEST_CONTEXT:
                    raise NotTranslatable(
                        f"copies more than {LARGEST_CONTEXT >> 20} MB: upload it with 'vm cp' into a VM, and"
                        " publish that one"
                    )
                files[name] = {"base64": b64encode(content).decode()}
                if os.access(file, os.X_OK):
                    files[name]["executable"] = True
    if not files:
        raise NotTranslatable("copies no file")
    return files


def _matching(context: Path, pattern: str) -> Iterator[Path]:
    """What of the context a source of COPY names; never anything outside it."""
    relative = posixpath.normpath(pattern.lstrip("/") or ".")
    if relative.startswith(".."):
        raise NotTranslatable(f"'{pattern}' lies outside {context}")
    if any(letter in relative for letter in "*?["):
        found = sorted(path for path in context.rglob("*") if _fits(path.relative_to(context), relative))
    else:
        found = [path for path in (context / relative,) if path.exists()]
    for path in found:
        if not path.resolve().is_relative_to(context):
            raise NotTranslatable(f"'{pattern}' leads outside {context}")
        yield path


def _fits(path: Path, pattern: str) -> bool:
    """As a shell would: a star does not reach across a slash."""
    wanted = pattern.split("/")
    return len(path.parts) == len(wanted) and all(map(fnmatch, path.parts, wanted))


def _files(path: Path, target: str, into: bool) -> Iterator[tuple[str, Path]]:
    """Each file of a source, with its path in the VM.  Of a directory it is the content, as COPY has it."""
    if not path.is_dir():
        yield (posixpath.join(target, path.name) if into else target), path
        return
    for file in sorted(path.rglob("*")):
        if file.is_symlink():
            raise NotTranslatable(f"'{file}' is a link: copy what it leads to")
        if file.is_file():
            yield posixpath.join(target, file.relative_to(path).as_posix()), file


def _pairs(rest: str, state: _State) -> dict[str, str]:
    """`NAME=value NAME="value"`, or the old `NAME value`."""
    name, space, value = rest.partition(" ")
    if "=" not in name and space:
        return {name: _expanded(value.strip(), state)}
    found = {}
    for word in shlex.split(rest):
        name, equals, value = word.partition("=")
        if not equals:
            raise NotTranslatable(f"'{word}' is not NAME=value")
        found[name] = _expanded(value, state)
    return found


def _word(text: str) -> str:
    return "".join(shlex.split(text)[:1]) if text else ""


def _expanded(text: str, state: _State) -> str:
    """With variables replaced: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+other}`."""
    known = {**state.arguments, **state.env}

    def value(match: re.Match[str]) -> str:
        if match[0] == "\\$":
            return "$"
        name = match[1] or match[4]
        if match[2] == "-":
            return known.get(name) or match[3]
        if match[2] == "+":
            return match[3] if known.get(name) else ""
        return known.get(name, "")

    return _VARIABLE.sub(value, text)
