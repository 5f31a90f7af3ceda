"""The VM's own interpreter on the host, by absolute path: a start each time."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from bench.contenders.base import Loads
from bench.contenders.docker import unpack
from bench.contenders.names import BARE, BARE_NODE, BARE_NODE_OF_IMAGE
from bench.figures import Figures
from bench.load import at_once, drive_calls
from bench.program import NODEJS, PYTHON, Program, check
from bench.spawn import LIKE_A_VM, output_of


class Bare(Loads):
    """An interpreter with the program on its command line."""

    def __init__(self, name: str, command: Sequence[str], flag: str, program: Program) -> None:
        self.name = name
        self.program = program
        self._argv = (*command, flag, program.code)
        self.version = output_of([*command, "--version"]).strip()

    def prepare(self, sandboxes: int) -> None:
        """There is none."""

    def execute(self, sandbox: int) -> float:
        started = time.perf_counter()
        output = output_of(self._argv, LIKE_A_VM)
        elapsed = time.perf_counter() - started
        check(output, self.program)
        return elapsed

    def load(self, in_flight: int, seconds: float) -> Figures:
        return drive_calls([partial(self.execute, number) for number in range(in_flight)], seconds)

    def starts(self, count: int, width: int) -> Figures:
        """`count` starts, `width` at a time."""
        return at_once([partial(self.execute, number) for number in range(count)], width)


def on_host(inside: str) -> str:
    """Where the host has the interpreter that a bubblewrap VM sees as `inside`: of /usr, or below /opt."""
    if inside.startswith("/opt/python/"):
        return os.path.realpath(Path(sys.base_prefix, inside.removeprefix("/opt/python/")))
    return os.path.realpath(inside)


def bare_python(inside: str) -> Bare:
    """The VM's own interpreter."""
    return Bare(BARE, [on_host(inside)], "-c", PYTHON)


def bare_node() -> Bare | None:
    """The host's node, which is a bubblewrap VM's; None where there is none."""
    found = shutil.which("node")
    return None if found is None else Bare(BARE_NODE, [os.path.realpath(found)], "-e", NODEJS)


class BareNodeOfImage(Bare):
    """A docker VM's own node on the host: the image's files in a directory, and no container.

    It looks for parts of itself at absolute paths, so the directory is its root.
    """

    def __init__(self) -> None:
        self._root = tempfile.TemporaryDirectory(prefix="vmpool-bench-")
        try:
            unpack("vmpool/nodejs", Path(self._root.name))
            chroot = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin") or "chroot"
            super().__init__(BARE_NODE_OF_IMAGE, [chroot, self._root.name, "/usr/bin/node"], "-e", NODEJS)
        except BaseException:
            self._root.cleanup()
            raise
        self.mode = "the image's files, by chroot"

    def release(self) -> None:
        """It costs nothing while nobody asks."""

    def close(self) -> None:
        self._root.cleanup()
