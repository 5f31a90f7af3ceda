"""The host as the abuse suite sees it: what must not change, and what it must still be able to do."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import traces

_SETTINGS = (
    *("core_pattern", "modprobe", "hostname", "domainname", "sysrq", "panic", "hotplug", "poweroff_cmd"),
    *("shmmax", "shmall", "msgmni", "randomize_va_space"),
)
_CLOCK_SLACK = 60.0
"""Seconds a host's own clock may be put right by meanwhile."""
_LITTLE = 64 << 10


@dataclass(frozen=True, slots=True)
class HostState:
    """What no program in a VM may change.  belongings: the pool's mounts, groups and loop devices."""

    settings: tuple[tuple[str, str], ...]
    belongings: tuple[str, ...]
    clock: float

    @classmethod
    def now(cls, marks: tuple[str, ...]) -> HostState:
        """As it is.  marks: what names the pool's own things."""
        belongings = [
            *traces.mounts_mentioning(*marks),
            *traces.groups_mentioning(*marks),
            *traces.loops_mentioning(*marks),
        ]
        return cls(tuple(_settings()), tuple(sorted(belongings)), time.time() - time.monotonic())

    def differences(self, later: HostState) -> list[str]:
        """What a later state has otherwise."""
        found = [
            f"{before} became {after}"
            for before, after in zip(self.settings, later.settings, strict=True)
            if before != after
        ]
        found += [f"gone: {entry}" for entry in set(self.belongings) - set(later.belongings)]
        found += [f"new: {entry}" for entry in set(later.belongings) - set(self.belongings)]
        if abs(self.clock - later.clock) > _CLOCK_SLACK:
            found.append(f"the clock went {later.clock - self.clock} s")
        return found


def _settings() -> Iterator[tuple[str, str]]:
    for name in _SETTINGS:
        yield name, _text(Path("/proc/sys/kernel", name))
    yield "swaps", _text(Path("/proc/swaps"))
    yield "binary formats", " ".join(sorted(_names(Path("/proc/sys/fs/binfmt_misc"))))
    for name in ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "loop-control"):
        yield name, _owner(Path("/dev", name))
    for agent in sorted(Path("/sys/fs/cgroup").glob("*/release_agent")):
        yield str(agent), _text(agent)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _owner(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_uid}:{found.st_gid} {found.st_mode:o}"


def _names(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except OSError:
        return []


def still_able(directory: Path) -> None:
    """Do once each of what a host that is out of something cannot; OSError says which."""
    for descriptor in os.openpty():
        os.close(descriptor)
    subprocess.run(["/bin/true"], check=True, timeout=30)
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(bytes(_LITTLE))
        file.flush()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def strangers(token: str) -> list[str]:
    """Processes that bear the token and are in the host's own PID namespace."""
    own = Path("/proc/self/ns/pid").readlink()
    found = []
    for process in traces.bearers_of(token):
        try:
            if Path(f"/proc/{process.pid}/ns/pid").readlink() == own:
                found.append(f"process {process.pid}")
        except OSError:
            continue  # it has just ended, or is another user's
    return found


@dataclass(slots=True)
class Bait:
    """What a program that gets out would find: a secret in a file, and sockets that count their guests.

    secret: the file's text, which no program may print.  path: the file.  abstract: name of a unix socket in
    the host's network namespace.  port: on every address of the host.  address: one of them, not loopback.
    """

    secret: str
    path: Path
    abstract: str
    port: int
    address: str
    guests: list[str]

    def environment(self) -> dict[str, str]:
        """How a program is told what to look for; never the secret."""
        return {
            "BAIT_PATH": str(self.path),
            "BAIT_ABSTRACT": self.abstract,
            "BAIT_PORT": str(self.port),
            "BAIT_ADDRESS": self.address,
        }


@contextlib.contextmanager
def laid_bait() -> Iterator[Bait]:
    """Lay it, and take it away."""
    secret, abstract = secrets.token_hex(16), f"vmpool-bait-{secrets.token_hex(4)}"
    guests: list[str] = []
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="vmpool-bait-"))
        path = Path(directory, "secret")
        path.write_text(secret)
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(f"\0{abstract}")
        unix.listen()
        tcp = stack.enter_context(socket.create_server(("", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("", tcp.getsockname()[1]))
        for listener in (unix, tcp, udp):
            stack.callback(_end, listener, _count(listener, guests))
        yield Bait(secret, path, abstract, tcp.getsockname()[1], _address(), guests)


def _count(listener: socket.socket, guests: list[str]) -> threading.Thread:
    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                if listener.type == socket.SOCK_DGRAM:
                    data, peer = listener.recvfrom(64)
                    if not data:
                        return
                else:
                    connection, peer = listener.accept()
                    connection.close()
                guests.append(f"{listener.family.name} {listener.type.name} {peer!r}")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _end(listener: socket.socket, thread: threading.Thread) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _address() -> str:
    """The host's address towards others; loopback where it has none.  Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


@contextlib.contextmanager
def spinning() -> Iterator[None]:
    """Processes of the host that take every core, in a session of their own."""
    code = "import os\nos.sched_setaffinity(0, {%d})\nwhile True: pass"
    with contextlib.ExitStack() as running:
        for core in os.sched_getaffinity(0):
            argv = [sys.executable, "-S", "-E", "-c", code % core]
            process = running.enter_context(subprocess.Popen(argv, start_new_session=True))
            running.callback(process.kill)
        yield
