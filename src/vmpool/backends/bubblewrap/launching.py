"""Running `vmpool-launch`.  Everything here blocks: call it from a thread."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmpool.backends.bubblewrap.host import Programs
from vmpool.backends.bubblewrap.layout import SOCKET_NAME, VMPaths
from vmpool.errors import BackendFailed

LAUNCH_SECONDS = 35.0
"""A launcher gives up by itself after 30."""
LOCK_SECONDS = LAUNCH_SECONDS + 5.0
STANDS = b"\0"
"""The launcher's last word when the agent runs."""
HELPER_SECONDS = 600.0
ERROR_CHARACTERS = 2000
BACKLOG = 128
_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath)}
"""The launcher stays beside the VMs: what else is in the server's environment is not for it."""

logger = logging.getLogger(__name__)


class Launcher:
    """`vmpool-launch serve`, a small process that forks one launcher for each plan.

    Started with the first plan, again if it should be gone, and ended by `close`; the launchers under way are
    not ended with it.  Threads may share one.
    """

    def __init__(self, program: Path) -> None:
        self._program = program
        self._changing = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._plans: socket.socket | None = None

    def launch(self, plan: bytes, descriptors: tuple[int, ...]) -> None:
        """Start a VM; returns once its agent runs.

        descriptors: have the numbers from `argv.LOCK_FD` on in the plan.  BackendFailed carries what went
        wrong, in one line or a few.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._send(plan, [*descriptors, theirs.fileno()])
            ours.settimeout(LAUNCH_SECONDS)
            answer = b""
            try:
                while not answer.endswith(STANDS) and (part := ours.recv(4096)):
                    answer += part
            except TimeoutError as failed:
                raise BackendFailed(f"the VM did not start within {LAUNCH_SECONDS:g} s") from failed
        if not answer.endswith(STANDS):
            raise BackendFailed(f"the VM did not start: {_bounded(answer)}")

    def run(self, words: tuple[str, ...], descriptors: tuple[int, ...]) -> None:
        """The same for a plan in words, one that starts nothing."""
        self.launch(b"".join(word.encode() + b"\0" for word in words), descriptors)

    def _send(self, plan: bytes, descriptors: list[int]) -> None:
        with self._changing:
            for attempt in (1, 2):
                plans = self._plans or self._start()
                try:
                    socket.send_fds(plans, [plan], descriptors)
                except (BrokenPipeError, ConnectionError) as failed:
                    self._end()
                    if attempt == 2:
                        raise BackendFailed(f"{self._program.name} does not run") from failed
                else:
                    return

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [self._program, "serve"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    cwd="/",
                    env=_ENVIRONMENT,
                )
            except OSError as failed:
                ours.close()
                raise BackendFailed(f"cannot run {self._program.name}: {failed.strerror}") from failed
        self._plans = ours
        return ours

    def _end(self) -> None:
        plans, self._plans = self._plans, None
        process, self._process = self._process, None
        if plans is not None:
            plans.close()
        if process is not None:
            process.wait()  # it ends with its socket

    def close(self) -> None:
        """End the process; the launcher can be used again."""
        with self._changing:
            self._end()


def as_root(programs: Programs, *command: str) -> None:
    """Run a command that reads and removes files of any mode, as root of a user namespace of its own."""
    done = subprocess.run(
        [programs.launcher, "as-root", *command],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=HELPER_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        # Its words name the host's paths, which are not the caller's to see.
        logger.error("%s failed: %s", command[0], _bounded(done.stderr))
        raise BackendFailed(f"{command[0]} could not handle the VM's files; the server's log says why")


def _bounded(output: bytes) -> str:
    text = output.decode(errors="replace").strip()
    return text[:ERROR_CHARACTERS] or "no message"


@contextmanager
def held(lock: Path) -> Iterator[int]:
    """The VM's lock, also against a launcher that an earlier server left running.

    Yields its descriptor, which a launcher inherits; the lock is free once both have closed it.
    """
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BackendFailed("the VM is being changed by another process") from None
                time.sleep(0.01)
        yield fd
    finally:
        os.close(fd)


@contextmanager
def socket_path(paths: VMPaths) -> Iterator[str]:
    """A name for the agent's socket that is short enough whatever the state directory is called."""
    directory = os.open(paths.home, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET_NAME}"
    finally:
        os.close(directory)


def listening_socket(paths: VMPaths) -> socket.socket:
    """The socket the agent will accept on, in place of any earlier one."""
    (paths.home / SOCKET_NAME).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with socket_path(paths) as name:
            listener.bind(name)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
