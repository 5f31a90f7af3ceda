"""How a context becomes a process: one table of kernels.  Pure but for reading our own programs once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from vmpool.agent.base import ProcessSpec
from vmpool.domain import VM, CodeContext, language_named
from vmpool.errors import InvalidRequest
from vmpool.pool.contexts.wire import Frames, Marks
from vmpool.pool.runner import RLIMITS, filled, standing_environment, working_directory

IDS = 1 << 60
"""Where the agent's ids of contexts begin: no execution has one as high, and no channel one as low."""
STARTS = 1 << 16
"""Starts of one context that have ids of their own."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """argv: `{source}` stands for the program's path, `{mark}` for the context's mark.  program: the file in
    this directory that is put there; as_input: it is said to the process instead.  frames: it sends lines of
    JSON on standard output.  marked: streams on which a mark follows each cell."""

    argv: tuple[str, ...]
    program: str
    frames: bool
    marked: tuple[str, ...] = ()
    as_input: bool = False

    @property
    def ends_on(self) -> frozenset[str]:
        """The streams on which the end of a cell is told."""
        return frozenset((*self.marked, "stdout") if self.frames else self.marked)

    def cell(self, number: int, code: str) -> bytes:
        """What runs a cell."""
        if self.frames:
            return json.dumps({"n": number, "code": code}).encode() + b"\n"
        quoted = code.replace("'", "'\\''")
        text = f"eval '{quoted}' </dev/null\n__vmpool_end {number} \"$?\"\n"
        return text.encode("utf-8", "replace")

    def question(self, asked: str) -> bytes:
        """What is answered with `Synced`, also where the line before was not said to its end."""
        if self.frames:
            return b"\n" + json.dumps({"sync": asked}).encode() + b"\n"
        return f"\n__vmpool_sync {asked}\n".encode()

    def readers(self, mark: str) -> Mapping[str, Frames | Marks]:
        """What reads its two streams."""
        first: Frames | Marks = Frames("stdout") if self.frames else Marks("stdout", mark)
        return {"stdout": first, "stderr": Marks("stderr", mark)}


KERNELS: Mapping[str, Kernel] = MappingProxyType(
    {
        "python": Kernel(("python3", "{source}"), "kernel_python.py", frames=True),
        "nodejs": Kernel(
            # The protocol has a descriptor of its own; what child processes write goes to standard error.
            ("/bin/sh", "-c", 'exec node "$0" "$1" 3>&1 1>&2', "{source}", "{mark}"),
            "kernel_node.js",
            frames=True,
            marked=("stderr",),
        ),
        "bash": Kernel(
            ("bash", "--noprofile", "--norc", "--noediting", "-i"),
            "kernel_bash.sh",
            frames=False,
            marked=("stdout", "stderr"),
            as_input=True,
        ),
    }
)
"""By language."""


def kernel_language(vm: VM, asked: str | None) -> str:
    """The language of a new context; InvalidRequest where there is no kernel for it."""
    name = vm.language if asked is None else language_named(asked).name
    if name not in KERNELS:
        raise InvalidRequest("language", f"there are contexts for {', '.join(KERNELS)}, not for {name}")
    return name


@cache
def program(name: str) -> str:
    """The text of a kernel's program."""
    return Path(__file__).with_name(name).read_text()


def agent_id(context: CodeContext) -> int:
    """What the agent calls the process of a context's present start."""
    return IDS + context.id * STARTS + context.starts % STARTS


def mark_of(context: CodeContext) -> str:
    """Of this start.  It need not be secret: who forges it spoils his own context."""
    return f"vmpool-{agent_id(context):x}"


def spec_of(vm: VM, context: CodeContext) -> ProcessSpec:
    """What the agent is to run.  The program lies in a directory of its own while it runs."""
    kernel = KERNELS[context.language]
    scratch = f"/tmp/.vmpool-context-{context.id}-{context.starts}"
    source = f"{scratch}/{kernel.program}"
    argv = tuple(word.replace("{mark}", mark_of(context)) for word in kernel.argv)
    return ProcessSpec(
        argv=filled(argv, {"{source}": source, "{scratch}": scratch, "{memory}": str(vm.limits.memory)}),
        env={**standing_environment(vm, language_named(context.language)), **context.env},
        cwd=working_directory(context.cwd),
        source=None if kernel.as_input else (source, program(kernel.program).encode()),
        scratch=scratch,
        stdin="open",
        rlimits=RLIMITS,
    )


def first_input(context: CodeContext) -> bytes:
    """What is said to the process before anything else."""
    kernel = KERNELS[context.language]
    if not kernel.as_input:
        return b""
    return program(kernel.program).replace("@MARK@", mark_of(context)).encode()
