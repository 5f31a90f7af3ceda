"""One run of code in a VM: what is asked, what is known while it runs, what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from vmpool.domain.limits import DEFAULT_TIMEOUT, NO_LIMITS, ProcessLimits


class ExecutionState(StrEnum):
    """Stored in `vm_executions.state`."""

    RUNNING = "running"  # announced, perhaps dispatched
    FINISHED = "finished"  # the program ended: exit code, signal, timeout and OOM are all this
    LOST = "lost"  # the VM or the agent went away under it; `failure` says what is known


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """How large a terminal is shown, in characters."""

    columns: int
    rows: int


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """What a caller asks to be run: exactly one of `code`, `command` and `packages`.

    timeout: seconds of wall clock, infinity for none.  cwd: a path in the VM, relative to the home directory.
    background: what it starts may go on after it, and nobody waits for it.  stdin_open: standard input is
    written while it runs, and does not end by itself.  secrets: names of those it gets as variables.
    terminal: it has one instead of pipes, which needs `stdin_open`.  linger: seconds it goes on in the
    background while nobody reads its output; None: for ever.  packages: to be installed, instead of code and
    command, by `manager` (None: that of the VM's language).  argv: set by the pool alone, runs instead of
    `command`, which then only says so.  limits: of each of its processes.
    """

    code: str | None = None
    command: str | None = None
    language: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: str | None = None
    cwd: str | None = None
    background: bool = False
    stdin_open: bool = False
    secrets: tuple[str, ...] = ()
    terminal: TerminalSize | None = None
    linger: float | None = None
    packages: tuple[str, ...] = ()
    manager: str | None = None
    argv: tuple[str, ...] = ()
    limits: ProcessLimits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    exit_code: as a shell reports it (128 + n after signal n).  cpu_time, execution_time: seconds.
    max_memory: bytes, the peak resident set of the largest process.  output, error: standard output and
    standard error as UTF-8 text, bytes that are not UTF-8 replaced by U+FFFD.  truncated: more was
    written than is in these two.  output_bytes, error_bytes: how much was written.  output_file, error_file:
    how many bytes of that lie in a file, from the beginning; None where the text is the whole stream.
    build_failed: it was never begun, since its source could not be compiled.
    """

    output: str
    error: str
    exit_code: int
    execution_time: float
    timed_out: bool = False
    oom_killed: bool = False
    truncated: bool = False
    cpu_time: float = 0.0
    max_memory: int = 0
    output_bytes: int = 0
    error_bytes: int = 0
    output_file: int | None = None
    error_file: int | None = None
    build_failed: bool = False

    @property
    def dropped(self) -> int:
        """Bytes of both streams that were written and are kept nowhere as they were."""
        streams = ((self.output_bytes, self.output_file), (self.error_bytes, self.error_file))
        return sum(written - kept for written, kept in streams if kept is not None)


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of the history.  `outcome` is there once `state` is FINISHED (or LOST, with what was kept).

    timeout: seconds, infinity for none.  linger: as it was asked for.
    """

    id: int
    vm_id: int
    code: str
    language: str
    state: ExecutionState
    executed_at: datetime
    timeout: float
    outcome: Outcome | None = None
    failure: str | None = None
    background: bool = False
    terminal: bool = False
    linger: float | None = None

    def settled(self, state: ExecutionState, outcome: Outcome | None, failure: str | None) -> Execution:
        """The same once it has ended."""
        return Execution(  # `dataclasses.replace` takes four times as long, on a path where that counts
            id=self.id,
            vm_id=self.vm_id,
            code=self.code,
            language=self.language,
            state=state,
            executed_at=self.executed_at,
            timeout=self.timeout,
            outcome=outcome,
            failure=failure,
            background=self.background,
            terminal=self.terminal,
            linger=self.linger,
        )
