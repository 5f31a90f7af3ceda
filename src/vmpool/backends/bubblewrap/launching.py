"""Running `vmpool-launch`.  Everything here blocks: call it from a thread."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmpool.backends.bubblewrap.host import Programs
from vmpool.backends.bubblewrap.layout import SOCKET_NAME, VMPaths
from vmpool.errors import BackendFailed

LAUNCH_SECONDS = 30.0
LOCK_SECONDS = LAUNCH_SECONDS + 5.0
HELPER_SECONDS = 600.0
ERROR_CHARACTERS = 2000
BACKLOG = 128

logger = logging.getLogger(__name__)


def launch(programs: Programs, plan: bytes, descriptors: tuple[int, ...]) -> None:
    """Start a VM; returns once its agent runs.  BackendFailed carries what went wrong, in one line or a few.

    A launcher that is killed takes a VM that does not stand yet with it.
    """
    try:
        launcher = subprocess.Popen(
            [programs.launcher],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=descriptors,
            start_new_session=True,
            cwd="/",
        )
    except OSError as failed:
        raise BackendFailed(f"cannot run {programs.launcher.name}: {failed.strerror}") from failed
    with launcher:
        try:
            _, errors = launcher.communicate(plan, timeout=LAUNCH_SECONDS)
        except BaseException as failed:
            os.killpg(launcher.pid, signal.SIGKILL)  # with what it started, at whatever point that is
            if isinstance(failed, subprocess.TimeoutExpired):
                raise BackendFailed(f"the VM did not start within {LAUNCH_SECONDS:g} s") from failed
            raise
    if launcher.returncode != 0:
        raise BackendFailed(f"the VM did not start: {_bounded(errors)}")


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
