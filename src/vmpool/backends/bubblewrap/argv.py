"""The launch plan of one VM as data: what `vmpool-launch` mounts and what bubblewrap is told.

Pure functions of values; the launcher's own comment (agent/launch.c) lists the directives.  Every name the
kernel shows inside the VM is relative to the staging directory, so no path of the host appears there.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

from vmpool.backends.bubblewrap.host import Grade, Programs
from vmpool.backends.bubblewrap.layout import Record, VMPaths
from vmpool.domain.language import VM_PATH
from vmpool.domain.limits import (
    CORE_BYTES,
    OPEN_FILES_HARD,
    OPEN_FILES_SOFT,
    SHARED_MEMORY_MB,
    TERMINALS,
    Limits,
    tmpfs_options,
)

MB = 1 << 20
PAGE = resource.getpagesize()
INFO_FD, ARGUMENTS_FD = 10, 14
LOCK_FD, LISTEN_FD = 3, 4
"""Numbers the descriptors sent with a plan have in the launcher."""
AGENT_LISTEN_FD = 3
SMALLEST_TMP_MB = 16
ENVIRONMENT = {
    "PATH": VM_PATH,
    "HOME": "/home/user",
    "USER": "user",
    "LOGNAME": "user",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
}


@dataclass(frozen=True, slots=True)
class Launch:
    """Everything a plan is made from.

    base: directory of the base.  system: top directories taken from the host.  own_toolchains: names of
    those the server's user owns (the user grade can make these writable).  cgroups: `cgroup.procs` files
    to join.  cgroup_limits: which of "memory" and "processes" a cgroup holds.  ids: first id of the VM's
    range.  hidden: those of `system` over which the base has a layer that hides files.
    shielded: what of /proc the VM's user could write to for being the server's user.  program: what runs
    in place of the agent.
    """

    paths: VMPaths
    record: Record
    programs: Programs
    base: Path
    system: tuple[str, ...]
    own_toolchains: frozenset[str]
    pidfile: Path
    cgroups: tuple[str, ...]
    cgroup_limits: frozenset[str]
    ids: int
    hidden: frozenset[str] = frozenset()
    shielded: tuple[str, ...] = ()
    program: tuple[str, ...] | None = None

    @property
    def root_grade(self) -> bool:
        return self.record.grade == Grade.ROOT


def tmp_size(limits: Limits) -> int:
    """MB of the user grade's /tmp, which is memory."""
    return max(limits.memory // 2, SMALLEST_TMP_MB)


def rlimits(limits: Limits, cgroup_limits: frozenset[str]) -> tuple[str, ...]:
    """Limits of every process of the VM as NUMBER:SOFT:HARD, standing in where no cgroup holds one."""
    wanted = [
        (resource.RLIMIT_CORE, CORE_BYTES, CORE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES_SOFT, OPEN_FILES_HARD),
    ]
    if "memory" not in cgroup_limits:
        wanted.append((resource.RLIMIT_DATA, limits.memory * MB, limits.memory * MB))
    if "processes" not in cgroup_limits:
        wanted.append((resource.RLIMIT_NPROC, limits.processes, limits.processes))
    return tuple(f"{number}:{soft}:{hard}" for number, soft, hard in wanted)


def plan(launch: Launch) -> bytes:
    """The whole plan as `vmpool-launch` reads it."""
    words = [
        *("lock", str(LOCK_FD)),
        *("listen", str(LISTEN_FD)),
        *("pidfile", str(launch.pidfile)),
        *(word for path in launch.cgroups for word in ("cgroup", path)),
        *(("range", str(launch.ids)) if launch.root_grade else ("user",)),
        *("run", str(launch.programs.bwrap), "--args", str(ARGUMENTS_FD), "--", *first_program(launch), "."),
        *("with", *bubblewrap(launch), "."),
        *("stage", str(launch.paths.stage)),
        *(_writable_root(launch) if launch.root_grade else _read_only_root(launch)),
        "end",
    ]
    return b"".join(word.encode() + b"\0" for word in words)


def _sources(launch: Launch, how: str) -> list[str]:
    """Everything from the host, each bound under a short name."""
    words = ["dir", "empty"]
    for source, name in (
        (launch.programs.directory, "agent"),
        (launch.paths.root, "own"),
        (launch.base / "root", "base"),
        *((Path("/", top), f"system-{top}") for top in launch.system),
        *((launch.base / "hidden" / top, f"hidden-{top}") for top in sorted(launch.hidden)),
        *((Path(t.source), f"tool-{t.name}") for t in launch.record.toolchains),
        *((launch.base / f"scripts-{t.name}", f"scripts-{t.name}") for t in launch.record.toolchains),
    ):
        words += ["bind", str(source), name, how]
    return words


def _overlay(target: str, lower: str, upper: str | None = None, options: str = "") -> list[str]:
    """An overlay of staged directories; its upper one lies on the VM's disk under `upper`."""
    if upper is None:
        return ["overlay", target, f"lowerdir={lower}"]
    return [
        *("dir", f"disk/{upper}", "dir", f"disk/{upper}.work"),
        *("overlay", target, f"lowerdir={lower},upperdir=disk/{upper},workdir=disk/{upper}.work{options}"),
    ]


def _system_layers(launch: Launch, top: str) -> str:
    return f"hidden-{top}:system-{top}" if top in launch.hidden else f"system-{top}"


def _writable_root(launch: Launch) -> list[str]:
    """Full root: every part of the tree has an upper layer on the VM's own disk."""
    if launch.record.image:
        words = ["image", str(launch.paths.image), "image", "bind", "image", "disk", "own"]
    else:
        words = ["bind", str(launch.paths.tree), "disk", "own"]
    words += [*_sources(launch, "system"), "dir", "vm", *_overlay("vm", "own:base", "top")]
    for top in launch.system:
        words += _overlay(f"vm/{top}", _system_layers(launch, top), f"system-{top}")
    for tool in launch.record.toolchains:
        words += _overlay(f"vm/opt/{tool.name}", f"scripts-{tool.name}:tool-{tool.name}", f"tool-{tool.name}")
    words += _overlay("vm/.vmpool", "agent:empty")
    return [*words, *_devices("vm/dev")]


def _read_only_root(launch: Launch) -> list[str]:
    """User grade: the tree is read-only but for home and toolchains the user owns.

    Files of other owners are nobody's in the VM's namespace and cannot be copied up.
    """
    limits = launch.record.spec.limits
    if launch.record.in_memory:
        words = ["tmpfs", "disk", tmpfs_options(limits.disk_in_memory, "755")]
    else:
        words = ["bind", str(launch.paths.tree), "disk", "plain"]
    words += _sources(launch, "plain")
    words += ["tmpfs", "tmp", tmpfs_options(tmp_size(limits), "1777")]
    words += ["dir", "vm", *_overlay("vm", "own:base"), *_overlay("vm/.vmpool", "agent:empty")]
    for top in launch.system:
        words += _overlay(f"vm/{top}", f"{_system_layers(launch, top)}:empty")
    for tool in launch.record.toolchains:
        lower = f"scripts-{tool.name}:tool-{tool.name}"
        if tool.name in launch.own_toolchains:
            words += ["dir", f"opt-{tool.name}"]
            words += _overlay(f"opt-{tool.name}", lower, f"tool-{tool.name}", ",userxattr")
        else:
            words += _overlay(f"vm/opt/{tool.name}", lower)
    words += ["dir", "home", *_overlay("home", "empty", "home", ",userxattr")]
    return [*words, "dir", "dev", *_devices("dev")]


def _devices(target: str) -> list[str]:
    return ["devices", target, tmpfs_options(SHARED_MEMORY_MB, "1777"), str(TERMINALS)]


def bubblewrap(launch: Launch) -> list[str]:
    """bubblewrap's arguments: the namespaces, the tree, /proc and /dev.

    It reads mountinfo anew for each mount it makes itself, so /dev comes from the launcher; in full root it
    is part of the tree, which is bound with devices (where each mount says itself that it has none).
    """
    stage = launch.paths.stage
    words = ["--info-fd", str(INFO_FD), "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net"]
    if not launch.root_grade:  # full root's first process leaves the host's cgroup namespace itself
        words += ["--unshare-cgroup", "--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns"]
    words += ["--hostname", launch.record.spec.hostname, "--new-session", "--as-pid-1", "--die-with-parent"]
    words += ["--cap-drop", "ALL", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        words += ["--setenv", name, value]
    words += ["--dev-bind" if launch.root_grade else "--ro-bind", str(stage / "vm"), "/", "--proc", "/proc"]
    if not launch.root_grade:
        words += _user_mounts(launch)
    return [*words, "--chdir", "/home/user"]


def _user_mounts(launch: Launch) -> list[str]:
    """User grade: /dev, and what can be written to."""
    stage = launch.paths.stage
    words = ["--dev-bind", str(stage / "dev"), "/dev"]
    for name in launch.shielded:
        words += ["--ro-bind", f"/proc/{name}", f"/proc/{name}"]
    words += ["--bind", str(stage / "tmp"), "/tmp"]
    words += ["--bind", str(stage / "home"), "/home/user"]
    for tool in launch.record.toolchains:
        if tool.name in launch.own_toolchains:
            words += ["--bind", str(stage / f"opt-{tool.name}"), f"/opt/{tool.name}"]
    return words


def first_program(launch: Launch) -> list[str]:
    """What runs as PID 1: our own init, which becomes the agent."""
    machine = launch.programs.machine
    words = [f"/.vmpool/vmpool-launch-{machine}", "init"]
    if launch.root_grade:
        words += ["--shared-memory", str(SHARED_MEMORY_MB * MB // PAGE), "--range"]
    for limit in rlimits(launch.record.spec.limits, launch.cgroup_limits):
        words += ["--rlimit", limit]
    agent = (f"/.vmpool/vmpool-agent-{machine}", "--listen-fd", str(AGENT_LISTEN_FD))
    return [*words, "--", *(launch.program or agent)]
