"""What the pool sees of an agent: values and the client's interface.  `client.py` implements it.

An execution is named by an id the host chose (its row's id), so that starting twice is starting once and
a restarted server can attach to what an earlier one started.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One execution, ready for the agent.

    argv: resolved on the VM's PATH.  build: argument vector run first, under the same limits and in the
    same output; a failing build ends the execution with its status and `build_failed`.  env: the whole
    environment.  source: path and bytes of a file the agent writes before and removes after.  scratch: a
    private directory the agent makes before and removes after.  stdin: None for an empty one, bytes for a
    fixed one, "open" for a stream.  timeout: seconds, None without.  background: keep descendants after
    the main process ends.  warm: name of the warm interpreter to use if it stands ready; argv is what
    runs when it does not.  rlimits: resource number to (soft, hard).
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/home/user"
    build: tuple[str, ...] = ()
    source: tuple[str, bytes] | None = None
    scratch: str | None = None
    stdin: bytes | Literal["open"] | None = None
    timeout: float | None = None
    background: bool = False
    warm: str | None = None
    rlimits: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    umask: int = 0o022


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes the program wrote.  `offset` is the position of the first byte in its stream."""

    stream: Literal["stdout", "stderr"]
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Exit:
    """How the main process ended, after its whole tree is gone and all output has been delivered.

    status: exit status, 0 if signalled.  signal: 0 if it exited.  user_seconds, system_seconds: CPU time of
    the main process and all descendants it waited for.  max_rss: bytes.  duration: seconds.
    """

    status: int
    signal: int
    timed_out: bool
    cancelled: bool
    build_failed: bool
    user_seconds: float
    system_seconds: float
    max_rss: int
    duration: float

    @property
    def exit_code(self) -> int:
        """As a shell reports it: 128 + n after signal n."""
        return 128 + self.signal if self.signal else self.status


class Process(Protocol):
    """An execution this client is attached to.  Reconnects by itself while the machine lives."""

    id: int
    pid: int

    def events(self) -> AsyncIterator[Output | Exit]:
        """Output in order of arrival, then exactly one Exit; AgentUnreachable if the agent is gone.

        Consuming acknowledges: memory is bounded however much the program writes and however slowly
        the caller reads.
        """

    async def write_stdin(self, data: bytes) -> None:
        """Send to the program's standard input, waiting while its pipe is full."""

    async def close_stdin(self) -> None:
        """End of its standard input."""

    async def signal(self, number: int, *, tree: bool = False) -> None:
        """Signal the main process, or it and every descendant."""

    async def release(self) -> None:
        """Let the agent forget the execution once it has ended."""


class AgentClient(Protocol):
    """One machine's agent, over a connection that is re-made when it breaks."""

    async def start(self, execution_id: int, spec: ProcessSpec) -> Process:
        """Start it, or attach to it when this id was started before."""

    async def attach(self, execution_id: int, *, stdout_offset: int = 0, stderr_offset: int = 0) -> Process:
        """Attach to an execution an earlier server started; AgentRefused `unknown_execution`."""

    async def executions(self) -> list[tuple[int, bool]]:
        """Ids the agent knows, each with whether it is still running."""

    async def read_file(self, path: str) -> bytes:
        """The whole file; AgentRefused `not_found`, `permission`, `not_a_file`."""

    async def write_file(self, path: str, data: bytes, *, mode: int = 0o644, parents: bool = False) -> None:
        """Replace the file's content."""

    async def warm(
        self,
        name: str,
        argv: tuple[str, ...],
        env: Mapping[str, str],
        *,
        strategy: str,
        spares: int,
        command: tuple[str, ...] = (),
        fixed: tuple[str, ...] = (),
        fixed_cwd: bool = False,
    ) -> None:
        """Make or change a warm interpreter, or drop it with no `spares`.

        command, fixed, fixed_cwd: which executions it stands for, see WARM in `spec/agent-protocol.json`.
        """

    async def ping(self) -> None:
        """One round trip."""

    async def shutdown(self, grace: float) -> None:
        """TERM to all, KILL after `grace` seconds, then the agent ends and with it the machine."""

    async def aclose(self) -> None:
        """Close the connection; executions go on."""
