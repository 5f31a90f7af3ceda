"""What the pool sees of an agent: values and the client's interface.  `client.py` implements it.

An execution is named by an id the host chose (its row's id), so that starting twice is starting once and
a restarted server can attach to what an earlier one started.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from vmpool.domain import TerminalSize


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One execution, ready for the agent.

    argv: resolved on the VM's PATH.  build: argument vector run first, under the same limits and in the
    same output; a failing build ends the execution with its status and `build_failed`.  env: the whole
    environment.  source: path and bytes of a file the agent writes before and removes after.  scratch: a
    private directory the agent makes before and removes after.  stdin: None for an empty one, bytes for a
    fixed one, "open" for a stream.  timeout: seconds, None without.  background: keep descendants after
    the main process ends.  warm: name of the warm interpreter to use if it stands ready; argv is what
    runs when it does not.  rlimits: resource number to (soft, hard).  terminal: one of this size in place of
    stdin, which is "open", stdout, which has all that is written, and stderr.
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
    terminal: TerminalSize | None = None


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
    """An execution this client is attached to.  Reconnects by itself while the machine lives.

    takes_stdin: its standard input is a stream that is open.  stdin_sent: bytes of it that need not be sent
    again; of one that was attached to, those its agent had acknowledged.
    """

    id: int
    pid: int

    @property
    def takes_stdin(self) -> bool: ...

    @property
    def stdin_sent(self) -> int: ...

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


@dataclass(frozen=True, slots=True)
class NetworkListen:
    """What the agent listens for inside the VM, to carry it to the host; empty: nothing.

    proxy: port on 127.0.0.1 for clients that know a proxy, 0 for none.  direct: ports at which connections to
    any address whatever are accepted.  resolver: answer names on 127.0.0.1:53 with addresses that stand for
    them.  channels: connections of the VM's programs carried at once; further ones wait in the VM.
    """

    proxy: int = 0
    direct: tuple[int, ...] = ()
    resolver: bool = False
    channels: int = 128

    def __bool__(self) -> bool:
        return bool(self.proxy or self.direct or self.resolver)


class NetworkStream(Protocol):
    """One TCP connection of a program in the VM, as an anyio `ByteStream` that can also be reset.

    Bytes wait in the VM, not here, while nobody receives.  One task receives and one sends.  A connection is
    lost with the connection to the agent: BrokenResourceError, as after a reset.
    """

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """What has come, at least one byte; EndOfStream once the program has sent all,
        BrokenResourceError if it broke the connection off."""

    async def send(self, item: bytes) -> None:
        """Send all of it, waiting while the program does not read."""

    async def send_eof(self) -> None:
        """Nothing more follows; the program may go on sending."""

    async def aclose(self) -> None:
        """Done with it: what was sent still reaches the program, what it sends is dropped."""

    def reset(self) -> None:
        """Break it off: the program reads "connection reset by peer".  Never waits."""


class GuestConnection(NetworkStream, Protocol):
    """A connection a program in the VM has made, accepted by the agent.

    listener: "proxy", a client that speaks a proxy's protocol, or "direct", one that believes to have reached
    `host` at `port`.  host: for a direct one the name its address was handed out for, else that address as
    text; as the guest says, so whatever it likes.
    """

    listener: Literal["proxy", "direct"]
    host: str
    port: int


class AgentClient(Protocol):
    """One machine's agent, over a connection that is re-made when it breaks."""

    async def start(self, execution_id: int, spec: ProcessSpec) -> Process:
        """Start it, or attach to it when this id was started before."""

    async def resize(self, execution_id: int, size: TerminalSize) -> None:
        """Tell its terminal how large it is shown; AgentRefused `unknown_execution`, `not_supported`."""

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

    async def open_network(self, listen: NetworkListen) -> NetworkListen:
        """Listen for exactly this from now on, also after a broken connection; connections made go on.

        Answers, once every port is bound, what is listened for: `listen`, or its proxy alone where a port of
        the others cannot be had.  Raises AgentRefused `not_supported` where that cannot be had either, and
        AgentTooOld.
        """

    def guest_connections(self) -> AsyncIterator[GuestConnection]:
        """Connections of the VM's programs as they come, until the client is closed.  One task iterates."""

    async def connect(self, port: int) -> NetworkStream:
        """A connection to 127.0.0.1:`port` in the VM; AgentRefused `refused` if nothing listens there."""

    async def ping(self) -> None:
        """One round trip."""

    async def shutdown(self, grace: float) -> None:
        """TERM to all, KILL after `grace` seconds, then the agent ends and with it the machine."""

    async def aclose(self) -> None:
        """Close the connection; executions go on."""
