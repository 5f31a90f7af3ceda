"""Starting a program as cheaply as the system allows, so that a contender is not charged for `subprocess`."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence

LIKE_A_VM = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "TZ": "UTC"}
"""An environment in which an interpreter starts as it does in a VM: nothing of the user's is looked for."""

LIMIT = 120.0
"""Seconds of silence after which a program is ended."""


def output_of(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What `argv` (absolute path first) prints on standard output; CalledProcessError when it fails.

    environment: default ours.  TimeoutError when it says nothing for LIMIT seconds.
    """
    reading, writing = os.pipe()
    try:
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            os.environ if environment is None else environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_CLOSE, reading)],
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    pieces: list[bytes] = []
    try:
        _read_all(reading, pieces)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        os.close(reading)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise subprocess.CalledProcessError(code, list(argv))
    return b"".join(pieces).decode()


def _read_all(fd: int, pieces: list[bytes]) -> None:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while poller.poll(1000 * LIMIT):
        piece = os.read(fd, 1 << 16)
        if not piece:
            return
        pieces.append(piece)
    raise TimeoutError(f"nothing for {LIMIT:g} s")
