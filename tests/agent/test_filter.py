"""The system call filter, seen from a program; and that real runtimes live under it."""

from __future__ import annotations

import errno
import platform
import shutil
import signal

import pytest

from tests.agent.conftest import Agent
from tests.agent.wire import Wire

CALLS = {  # x86_64, aarch64
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "swapon": (167, 224),
    "quotactl": (179, 60),
    "acct": (163, 89),
    "personality": (135, 92),
    "socket": (41, 198),
    "ioctl": (16, 29),
    "clone": (56, 220),
    "io_uring_setup": (425, 425),
    "clone3": (435, 435),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "mount_setattr": (442, 442),
    "kill": (62, 129),
    "tkill": (200, 130),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "fcntl": (72, 25),
    "socketpair": (53, 199),
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
}

REFUSED = [
    *(
        (name, (), errno.EPERM)
        for name in (
            "mount",
            "umount2",
            "pivot_root",
            "setns",
            "bpf",
            "keyctl",
            "perf_event_open",
            "userfaultfd",
            "open_by_handle_at",
            "init_module",
            "kexec_load",
            "reboot",
            "syslog",
            "settimeofday",
            "swapon",
            "quotactl",
            "acct",
            "fsopen",
            "open_tree",
            "mount_setattr",
        )
    ),
    ("io_uring_setup", (), errno.ENOSYS),
    ("clone3", (), errno.ENOSYS),
    *(("unshare", (flag,), errno.EPERM) for flag in (0x20000, 0x10000000, 0x40000000, 0x20000000, 0x80)),
    ("clone", (0x10000000 | 17,), errno.EPERM),
    ("personality", (0x0400000,), errno.EPERM),
    ("socket", (40, 1, 0), errno.EAFNOSUPPORT),
    *(("socket", (family, 3, 0), errno.EAFNOSUPPORT) for family in (0, 3, 9, 15, 17, 21, 29, 30, 38, 43, 44)),
    ("socketpair", (30, 1, 0, 0), errno.EAFNOSUPPORT),
    *(("socket", (2, 1, protocol), errno.EPROTONOSUPPORT) for protocol in (132, 136, 262)),
    ("socket", (10, 3, 255), errno.EPROTONOSUPPORT),
    *(("socket", (16, 3, protocol), errno.EPROTONOSUPPORT) for protocol in (6, 9, 12, 16, 21)),
    ("ioctl", (0, 0x5412), errno.EPERM),
    ("prlimit64", (1, 7, 0, 0), errno.EPERM),
    ("sched_setaffinity", (1, 8, 0), errno.EPERM),
    ("sched_setscheduler", (1, 0, 0), errno.EPERM),
]

ALLOWED = [
    ("socket", (1, 1, 0)),
    ("socket", (2, 1, 6)),
    ("socket", (10, 2, 17)),
    ("socket", (16, 3, 0)),
    ("prlimit64", (0, 4, 0, 0)),
    ("prlimit64", (0, 7, 0, 0)),
    ("unshare", (0x400,)),
    ("personality", (0xFFFFFFFF,)),
    ("personality", (0,)),
]


def call(wire: Wire, name: str, arguments: tuple[int, ...]) -> tuple[int, int]:
    """Result and errno."""
    number = CALLS[name][0 if platform.machine() == "x86_64" else 1]
    words = "".join(f", ctypes.c_ulong({value})" for value in (*arguments, *[0] * (5 - len(arguments))))
    script = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(libc.syscall({number}{words}), ctypes.get_errno())"
    )
    result = wire.run(1, "/usr/bin/python3", "-c", script)
    assert result["signal"] == 0, result.outcome
    returned, error = result.stdout.split()
    return int(returned), int(error)


@pytest.fixture
def one(pid_one: Agent) -> Wire:
    return pid_one.connect()


@pytest.mark.parametrize(("name", "arguments", "error"), REFUSED)
def test_refused(one: Wire, name: str, arguments: tuple[int, ...], error: int) -> None:
    assert call(one, name, arguments) == (-1, error)


@pytest.mark.parametrize(("name", "arguments"), ALLOWED)
def test_allowed(one: Wire, name: str, arguments: tuple[int, ...]) -> None:
    assert call(one, name, arguments)[0] >= 0


@pytest.mark.parametrize("asked", [0, 4096])
def test_the_limit_of_core_dumps_stays(one: Wire, asked: int) -> None:
    """At any but 1 a crash would start what the host's core_pattern may name."""
    script = (
        "import resource as r\n"
        f"r.setrlimit(r.RLIMIT_CORE, ({asked}, {asked}))\n"
        "print(r.getrlimit(r.RLIMIT_CORE))\n"
    )
    result = one.run(1, "/usr/bin/python3", "-c", script)
    assert result.stdout == b"(1, 1)\n", result.outcome


def test_process_one_blocks_every_signal_it_can(one: Wire) -> None:
    """Those too that a libc keeps for itself: not every kernel protects process 1."""
    blocked = one.run(1, "grep", "^SigBlk:", "/proc/1/status").stdout.split()[1]
    every = (1 << 64) - 1
    assert int(blocked, 16) == every & ~(1 << signal.SIGKILL - 1) & ~(1 << signal.SIGSTOP - 1)


def test_it_cannot_be_undone(one: Wire) -> None:
    status = one.run(1, "grep", "-E", "^(NoNewPrivs|Seccomp):", "/proc/self/status").stdout
    assert status.split() == [b"NoNewPrivs:", b"1", b"Seccomp:", b"2"]


def test_a_debugger_may_trace_its_own(one: Wire) -> None:
    script = (
        "import ctypes, os, signal; libc = ctypes.CDLL(None, use_errno=True)\n"
        "child = os.fork() or signal.pause()\n"
        "print(libc.ptrace(16, child, 0, 0)); os.kill(child, 9)"
    )
    assert one.run(1, "/usr/bin/python3", "-c", script).stdout == b"0\n"


RUNTIMES = {
    "/usr/bin/node": ("-e", "console.log('hello')"),
    "/usr/bin/python3": (
        "-c",
        "import threading; t = threading.Thread(target=print, args=('hello',)); t.start()",
    ),
    "/usr/bin/perl": ("-e", "print qq(hello\\n)"),
    "/usr/bin/bash": ("-c", "echo hello | cat"),
}


@pytest.mark.parametrize("program", [path for path in RUNTIMES if shutil.which(path)])
def test_runtimes(one: Wire, program: str) -> None:
    assert one.run(1, program, *RUNTIMES[program]).outcome == ("hello\n", "", 0, 0)


JAVA = 'public class Main { public static void main(String[] a) { System.out.println("hello"); } }'
GO = (
    'package main\nimport "fmt"\n'
    'func main() { c := make(chan string); go func() { c <- "hello" }(); fmt.Println(<-c) }'
)
COMPILED = {
    "java": ("Main.java", JAVA, ("java", "-XX:TieredStopAtLevel=1", "Main.java")),
    "go": ("main.go", GO, ("go", "run", "main.go")),
    "gcc": (
        "main.c",
        '#include <stdio.h>\nint main(void) { puts("hello"); }',
        ("sh", "-c", "gcc main.c && ./a.out"),
    ),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("tool", [tool for tool in COMPILED if shutil.which(tool, path="/usr/bin")])
def test_compilers(pid_one: Agent, one: Wire, tool: str) -> None:
    name, source, argv = COMPILED[tool]
    (pid_one.home / name).write_text(source)
    one.socket.settimeout(150)
    result = one.run(1, *argv, env={"HOME": str(pid_one.home), "GOFLAGS": "-p=1"})
    assert (bytes(result.stdout), result["status"]) == (b"hello\n", 0), result.outcome
