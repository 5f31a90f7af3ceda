"""Starting a program as cheaply as the system allows, so that a contender is not charged for `subprocess`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

LIKE_A_VM = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8", "TZ": "UTC"}
"""An environment in which an interpreter starts as it does in a VM: nothing of the user's is looked for."""


def output_of(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """What `argv` (absolute path first) prints on standard output; CalledProcessError when it fails.

    environment: default ours.
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
    pieces = []
    with open(reading, "rb", buffering=0) as stream:  # noqa: PTH123 - a descriptor, not a path
        while piece := stream.read(1 << 16):
            pieces.append(piece)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        raise subprocess.CalledProcessError(code, list(argv))
    return b"".join(pieces).decode()
