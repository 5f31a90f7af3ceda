"""Optional arguments that several calls share, as keyword arguments with types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict


class PolicyOptions(TypedDict, total=False):
    """What a VM with network "filtered" may reach; what is left out is the default.

    allow: rules (a name, `*.name`, an address or a CIDR, each with `:port`); none: every public address.
    deny: rules that win.  group: your VMs of one group reach one another as `<name>.vm`.  max_bytes: in both
    directions, over the VM's life.
    """

    allow: Sequence[str]
    deny: Sequence[str]
    group: str | None
    max_connections: int | None
    connections_per_second: int | None
    max_bytes: int | None


class VMOptions(TypedDict, total=False):
    """Optional arguments of creating a VM; what is left out is the server's default.

    template: a built-in one or, by id or name, a user's; default: the language's own.  cpu_limit: cores.
    memory_limit, disk_limit: MB.  process_limit: processes and threads together.  env: variables that every
    execution starts with.  network: "none", "filtered" or "full".  network_policy: what a filtered one may
    reach.  isolation: the wall around it, by name.  ttl: seconds after which the VM is deleted.
    idle_timeout: seconds without an execution after which it is stopped, idle_pause: paused.  labels: your
    own notes.  packages: installed, by the language's package manager, before it is yours.  strict_limits:
    refuse where a limit is not hard.
    """

    template: str | None
    cpu_limit: float | None
    memory_limit: int | None
    disk_limit: int | None
    process_limit: int | None
    env: Mapping[str, str] | None
    network: Literal["none", "filtered", "full"] | None
    network_policy: PolicyOptions | None
    isolation: Literal["namespaces", "container", "gvisor", "microvm"] | None
    ttl: int | None
    idle_timeout: int | None
    idle_pause: int | None
    labels: Mapping[str, str] | None
    packages: Sequence[str] | None
    strict_limits: bool | None


class BuildOptions(TypedDict, total=False):
    """Optional arguments of building a template.

    language: default: that of the template it begins with.  replace: your template of the same name makes way
    once this is ready.  fresh: do all steps, whatever is kept of earlier builds.  The others as in
    `VMOptions`, of the VM it is built in.
    """

    description: str | None
    language: str | None
    replace: bool | None
    fresh: bool | None
    cpu_limit: float | None
    memory_limit: int | None
    disk_limit: int | None
    network: Literal["none", "filtered", "full"] | None
    network_policy: PolicyOptions | None


class LimitOptions(TypedDict, total=False):
    """Limits a VM is to have; what is left out stays as it is.  Units as in `VMOptions`."""

    cpu_limit: float | None
    memory_limit: int | None
    disk_limit: int | None
    process_limit: int | None


class UserChanges(TypedDict, total=False):
    """What may change of a user.  max_vms: VMs at once; None: the server's limit."""

    admin: bool
    disabled: bool
    max_vms: int | None


class ProcessLimits(TypedDict, total=False):
    """Limits of each process of an execution, below those of its VM.

    cpu_seconds: of computing.  memory: MB of data and heap.  file_size: MB of a file that is written.
    open_files: at once.
    """

    cpu_seconds: int
    memory: int
    file_size: int
    open_files: int


class RunOptions(TypedDict, total=False):
    """Optional arguments of running code.

    command: a shell command line, instead of code.  language: default: the VM's own.  timeout: wall-clock
    seconds after which the program is ended.  env: variables beside the VM's own.  stdin: text on standard
    input, which then ends.  cwd: a path in the VM, relative to /home/user.  secrets: names of those
    it gets as variables.  packages: to be installed, instead of code.  manager: what installs them; default:
    the package manager of the VM's language.  limits: of each process it runs.
    """

    command: str | None
    language: str | None
    timeout: float | None
    env: Mapping[str, str] | None
    stdin: str | None
    cwd: str | None
    secrets: Sequence[str] | None
    packages: Sequence[str] | None
    manager: str | None
    limits: ProcessLimits | None


class Terminal(TypedDict):
    """How large a terminal is shown, in characters."""

    columns: int
    rows: int


class BackgroundOptions(RunOptions, total=False):
    """The same of one that nobody waits for; without a timeout it runs as long as its VM.

    stdin_open: its standard input is written while it runs; not with `stdin`.  terminal: it runs in one of
    this size: all it writes is standard output, and what is typed is written to its standard input.  linger:
    seconds it goes on while nobody reads its output (default: as long as its VM; in a terminal 600).
    """

    stdin_open: bool | None
    terminal: Terminal | None
    linger: float | None


class StreamOptions(BackgroundOptions, total=False):
    """The same of one whose output is read as it comes; without a timeout it has the server's.

    cancel_on_disconnect: end it when nobody reads it any more.
    """

    cancel_on_disconnect: bool | None
