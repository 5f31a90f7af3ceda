"""Contexts: kernels that remember from one cell to the next, and what their cells have put out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class ContextState(StrEnum):
    """What a context does now."""

    IDLE = "idle"
    BUSY = "busy"  # a cell runs
    DEAD = "dead"  # its kernel has ended, and with it all it remembered; `failure` says why


class CellState(StrEnum):
    """How a cell ended."""

    OK = "ok"
    ERROR = "error"  # it raised, or for bash: its exit status is not 0
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed_out"
    DIED = "died"  # the kernel ended under it


@dataclass(frozen=True, slots=True)
class CodeContext:
    """A kernel in a VM, as it was asked for.

    starts: how often its kernel was started.  failure: why it is dead; None for one that is not known to be.
    """

    id: int
    vm_id: int
    language: str
    created_at: datetime
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    starts: int = 1
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class CodeContextView:
    """A context as it is now.  cells: how many its kernel has begun.  waiting: those in line behind it."""

    context: CodeContext
    state: ContextState
    cells: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Text:
    """What a cell has written to a stream, `stdout` or `stderr`."""

    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A value in all its forms, by MIME type: text (Base64 where the type is binary) or what JSON has.

    result: it is the value of the cell's last line.
    """

    forms: Mapping[str, object]
    result: bool


@dataclass(frozen=True, slots=True)
class Raised:
    """What the cell ended with: an exception's name, its message and its traceback; for bash `ExitStatus`."""

    name: str
    value: str
    trace: str


CellOutput = Text | Shown | Raised


@dataclass(frozen=True, slots=True)
class CellResult:
    """How a cell ended.  seconds: from when it began to run.  truncated: it has put out more than is kept."""

    number: int
    state: CellState
    outputs: tuple[CellOutput, ...]
    truncated: bool
    seconds: float
