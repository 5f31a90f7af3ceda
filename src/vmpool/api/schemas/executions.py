"""Executions and batches of them."""

from __future__ import annotations

from base64 import b64decode
from datetime import datetime
from signal import Signals
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from vmpool.api.schemas.base import LARGEST, Answer, Id, Packages, Request, ShortText, Variables
from vmpool.api.schemas.errors import Problem
from vmpool.domain import ExecutionState
from vmpool.domain.limits import OPEN_FILES_HARD
from vmpool.domain.secret import MAX_SECRETS
from vmpool.errors import InvalidRequest

MAX_CODE_CHARACTERS = 1 << 20
MAX_STDIN_CHARACTERS = 16 << 20
MAX_TERMINAL = 1000
"""Most columns, and most rows."""
SIGNAL_PATTERN = "^(SIG)?(" + "|".join(signal.name.removeprefix("SIG") for signal in Signals) + ")$"

SourceText = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CODE_CHARACTERS)]
SignalName = Annotated[str, StringConstraints(pattern=SIGNAL_PATTERN, max_length=20)]
Seconds = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]


class TerminalSize(Request):
    """How large a terminal is shown, in characters."""

    columns: Annotated[int, Field(ge=1, le=MAX_TERMINAL)] = 80
    rows: Annotated[int, Field(ge=1, le=MAX_TERMINAL)] = 24


class ProcessLimits(Request):
    """Limits of each process of an execution, below those of its VM."""

    cpu_seconds: Annotated[int, Field(ge=1, le=LARGEST)] | None = Field(
        default=None, description="Seconds of computing; then SIGXCPU, and SIGKILL a second later."
    )
    memory: Annotated[int, Field(ge=1, le=LARGEST)] | None = Field(
        default=None, description="MB of data and heap; to ask for more fails."
    )
    file_size: Annotated[int, Field(ge=0, le=LARGEST)] | None = Field(
        default=None, description="MB of a file that is written; SIGXFSZ past it."
    )
    open_files: Annotated[int, Field(ge=16, le=OPEN_FILES_HARD)] | None = Field(
        default=None, description="Files open at once."
    )


class Runnable(Request):
    """What both kinds of execution request share: exactly one of `code`, `command` and `packages`."""

    code: SourceText | None = Field(
        default=None, description="Source text in `language`.", examples=["print('Hello from VM!')"]
    )
    command: SourceText | None = Field(default=None, description="A shell command line.", examples=["ls -l"])
    packages: Packages = Field(
        default=[],
        description="Packages to install, instead of code: names, each with a version if need be.",
        examples=[["requests", "attrs>=23"]],
    )
    manager: ShortText | None = Field(
        default=None, description="Which installs `packages`. Default: that of the VM's language."
    )
    language: ShortText | None = Field(default=None, description="Default: the VM's own language.")
    timeout: Seconds | None = Field(
        default=None, description="Wall-clock seconds after which it is ended. Default: the server's, 300."
    )
    env: Variables = Field(default_factory=dict, description="Variables beside the VM's own.")
    stdin: Annotated[str, StringConstraints(max_length=MAX_STDIN_CHARACTERS)] | None = Field(
        default=None, description="Text on standard input, which then ends. Default: empty."
    )
    cwd: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = Field(
        default=None, description="A path in the VM, relative to /home/user. Default: /home/user."
    )
    secrets: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=64)]], Field(max_length=MAX_SECRETS)
    ] = Field(default=[], description="Names of your secrets that it gets as variables.")

    limits: ProcessLimits | None = Field(
        default=None, description="Of each process it runs, and of its build, below the VM's own."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.code is not None) + (self.command is not None) + bool(self.packages) != 1:
            problem = "send exactly one of code, command and packages"
            raise PydanticCustomError("one_of", problem, {"field": "code"})
        return self


class ExecuteRequest(Runnable):
    """Body of `POST /api/vms/{vm_id}/execute`."""

    background: bool = Field(
        default=False,
        description="Answer 202 once it runs. It has no time limit but what `timeout` says, and what it"
        " starts may go on after it.",
    )
    stdin_open: bool = Field(
        default=False, description="Standard input is written while it runs (`.../stdin`); not with `stdin`."
    )
    terminal: TerminalSize | None = Field(
        default=None,
        description="Run it in a terminal of this size: what it writes is `stdout`, what is typed is written"
        " to its standard input, which is open.",
    )
    linger: Seconds | None = Field(
        default=None,
        description="In the background: seconds it goes on while nobody reads its output; then it is ended."
        " Default: as long as its VM; with `terminal`: 600.",
    )
    cancel_on_disconnect: bool = Field(
        default=False, description="End it when the one who waits for it, or reads its events, goes away."
    )

    @property
    def special(self) -> bool:
        """It takes more than running it and answering how it ended."""
        return (
            self.background
            or self.stdin_open
            or self.cancel_on_disconnect
            or self.terminal is not None
            or self.linger is not None
        )


def signal_number(signal: int | str) -> int:
    """The number of a signal given by number or name."""
    return signal if isinstance(signal, int) else Signals["SIG" + signal.removeprefix("SIG")].value


class CancelExecution(Request):
    """Body of `POST .../cancel`; may be left out."""

    grace: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] | None = Field(
        default=None, description="Seconds between TERM and KILL; 0: KILL at once. Default: the server's, 2."
    )


class SignalExecution(Request):
    """Body of `POST .../signal`."""

    signal: Annotated[int, Field(ge=1, le=64)] | SignalName = Field(
        description="A number, or a name such as `SIGTERM` or `TERM`."
    )
    tree: bool = Field(default=False, description="Everything it started too, not its main process alone.")

    @property
    def number(self) -> int:
        """The signal's number."""
        return signal_number(self.signal)


class SocketMessage(Request):
    """What a WebSocket takes beside binary messages, which are standard input as it is."""

    stdin: str | None = None
    close_stdin: bool = False
    signal: Annotated[int, Field(ge=1, le=64)] | SignalName | None = None
    tree: bool = False
    cancel: bool = False
    resize: TerminalSize | None = None

    @property
    def number(self) -> int:
        """The signal's number."""
        return signal_number(self.signal or "TERM")


class WriteStdin(Request):
    """Body of `POST .../stdin`: at most one of `text` and `base64`."""

    text: Annotated[str, StringConstraints(max_length=MAX_STDIN_CHARACTERS)] | None = Field(
        default=None, description="Sent as UTF-8."
    )
    base64: Annotated[str, StringConstraints(max_length=MAX_STDIN_CHARACTERS * 2)] | None = Field(
        default=None, description="Any bytes."
    )
    offset: Id | None = Field(
        default=None,
        description="Where this begins in the whole input: what was written before is left out, so that it"
        " can be sent again. Default: after everything.",
    )
    close: bool = Field(default=False, description="Nothing follows: the program reads its end.")

    @model_validator(mode="after")
    def _at_most_one(self) -> Self:
        if self.text is not None and self.base64 is not None:
            raise PydanticCustomError("one_of", "send at most one of text and base64", {"field": "text"})
        return self

    @property
    def data(self) -> bytes:
        """The bytes; InvalidRequest where they are not what they say."""
        try:
            if self.base64 is not None:
                return b64decode(self.base64, validate=True)
            return (self.text or "").encode()
        except (ValueError, UnicodeEncodeError) as error:
            field = "text" if self.base64 is None else "base64"
            raise InvalidRequest(field, f"cannot be read: {error}") from error


class OutputEvent(Answer):
    """A piece of a stream, as the data of an event `stdout` or `stderr`."""

    offset: int = Field(description="Where it begins, in bytes.")
    text: str | None = Field(default=None, description="What was written.")
    base64: str | None = Field(default=None, description="The same where it is not UTF-8 by itself.")
    skipped: int | None = Field(
        default=None, description="Bytes before it that are nowhere any more: there was no room for them."
    )


class StdinPosition(Answer):
    """How far a program's standard input was written."""

    offset: int = Field(description="Bytes that were taken. Less than was sent: the program does not read.")
    closed: bool


class BatchExecuteRequest(Runnable):
    """Body of `POST /api/vms/batch-execute`."""

    vm_ids: list[Id | ShortText] | None = Field(
        default=None, max_length=1000, description="Ids or names. Default: all of your running VMs."
    )


class Execution(Answer):
    """One run of code. A program that fails is a result: see `exit_code`."""

    id: int
    vm_id: int
    code: str = Field(description="The code or the command, as sent.")
    output: str | None = Field(default=None, description="Standard output; null while it runs.")
    error: str | None = Field(default=None, description="Standard error; null while it runs.")
    exit_code: int | None = Field(
        default=None, description="As a shell reports it: 128 + n after signal n. Null while it runs."
    )
    execution_time: float | None = Field(default=None, description="Wall-clock seconds.")
    executed_at: datetime
    timed_out: bool = False
    oom_killed: bool = False
    truncated: bool = Field(
        default=False, description="More was written than stands here; `GET .../output` has the whole."
    )
    build_failed: bool = Field(
        default=False, description="Its source could not be compiled: `error` says why, nothing of it ran."
    )
    output_bytes: int | None = Field(
        default=None, description="How long standard output was; null while it runs."
    )
    error_bytes: int | None = Field(
        default=None, description="How long standard error was; null while it runs."
    )
    dropped: int = Field(
        default=0,
        description="Bytes of both that `GET .../output` has not either: there was no room.",
    )
    cpu_time: float | None = Field(default=None, description="Seconds.")
    max_memory: int | None = Field(default=None, description="Bytes: the peak of its largest process.")
    state: ExecutionState = Field(description="running, finished, or lost: the VM went away under it.")
    language: str
    failure: str | None = Field(description="Why it was lost, or ended by somebody.")
    background: bool = Field(default=False, description="Nobody waited for it.")
    terminal: bool = Field(default=False, description="It had a terminal.")


class BatchError(Answer):
    """The place of one VM in a batch's answer when its code has no result."""

    vm_id: int | str = Field(description="As in the request.")
    error: Problem
