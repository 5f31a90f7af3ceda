"""Contexts: what they are asked, and what their cells put out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from vmpool.api.schemas.base import Answer, Request, ShortText, Variables
from vmpool.api.schemas.executions import Seconds, SourceText


class CreateContext(Request):
    """Body of `POST /api/vms/{vm_id}/contexts`."""

    language: ShortText | None = Field(
        default=None, description="python, nodejs or bash. Default: the VM's own language."
    )
    cwd: Annotated[str, StringConstraints(min_length=1, max_length=4096)] | None = Field(
        default=None, description="A path in the VM, relative to /home/user. Default: /home/user."
    )
    env: Variables = Field(default_factory=dict, description="Variables beside the VM's own.")


class RunCell(Request):
    """Body of `POST /api/vms/{vm_id}/contexts/{context_id}/execute`."""

    code: SourceText = Field(examples=["x = 41", "x + 1"])
    timeout: Seconds | None = Field(
        default=None,
        description="Seconds after which it is interrupted; where it goes on all the same, the context is"
        " ended. Default: the server's, 300.",
    )


class CodeContext(Answer):
    """A kernel that remembers from one cell to the next."""

    id: int
    vm_id: int
    language: str
    state: Literal["idle", "busy", "dead"] = Field(
        description="`dead`: its kernel has ended, and with it all it remembered."
    )
    cells: int = Field(description="How many cells its kernel has begun.")
    waiting: int = Field(description="Cells in line behind the one that runs.")
    cwd: str | None = Field(description="Where it began.")
    failure: str | None = Field(description="Why it is dead.")
    created_at: datetime


class CellOutput(Answer):
    """One thing a cell has put out.

    `stdout`, `stderr`: `text` that was written. `result`: the value of its last line, and `display`: what it
    has shown; both have `data`. `error`: what it ended with.
    """

    type: Literal["stdout", "stderr", "result", "display", "error"]
    text: str | None = None
    data: dict[str, JsonValue] | None = Field(
        default=None, description="The value by MIME type: text, Base64 where the type is binary, or JSON."
    )
    name: str | None = Field(
        default=None, description="The exception's name; for bash `ExitStatus`, the value being the status."
    )
    value: str | None = Field(default=None, description="Its message.")
    traceback: str | None = None


class CellResult(Answer):
    """How a cell ended."""

    number: int = Field(description="Its place among the cells of this kernel; 0: it never ran.")
    state: Literal["ok", "error", "interrupted", "timed_out", "died"] = Field(
        description="`died`: the kernel ended under it, or before its turn came."
    )
    outputs: list[CellOutput] = Field(description="In order. Empty where they were sent as events.")
    truncated: bool = Field(description="It has put out more than is kept of one cell (8 MiB).")
    execution_time: float = Field(description="Seconds.")
