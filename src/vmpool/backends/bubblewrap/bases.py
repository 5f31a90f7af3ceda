"""Which base new machines stand on, without anybody waiting for the look at the whole system it needs.

What no VM may see is looked for at every start, as a file's mode tells nobody that it changed; that takes up
to a second, and passes beside everything else.  Whoever makes a VM that a user gets waits for the end of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from vmpool.backends.bubblewrap import skeleton
from vmpool.backends.bubblewrap.toolchains import Toolchain
from vmpool.errors import BackendFailed

Paths = tuple[str, ...]
LAST = "hidden.json"
"""In the directory of the bases: what the last look found."""


class Look:
    """One look for what no VM may see, begun at once.

    command: prints paths, each with a NUL behind; None where nothing is hidden.
    """

    def __init__(self, command: Sequence[str] | None) -> None:
        self._reading = threading.Lock()
        self._found: Paths | None = () if command is None else None
        self._process: subprocess.Popen[bytes] | None = None
        if command is not None:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )

    def found(self) -> Paths:
        """Paths relative to /; waits for the end of the look.  BackendFailed where it was ended before."""
        with self._reading:
            if self._process is not None:
                output, _ = self._process.communicate()
                status, self._process = self._process.returncode, None
                if status >= 0:  # half a look is none
                    self._found = tuple(sorted(os.fsdecode(path[1:]) for path in output.split(b"\0") if path))
            if self._found is None:
                raise BackendFailed("the look for what no VM may see was broken off")
            return self._found

    def close(self) -> None:
        """Give it up if it goes on."""
        process = self._process
        if process is not None:
            process.kill()
        with self._reading:
            if self._process is not None:
                self._process.communicate()
                self._process = None


class Bases:
    """The bases of one kind of VM.  Threads may share one.

    directory: of all bases.  digest: names what a writable layer stands on.
    """

    def __init__(self, directory: Path, digest: str, toolchains: tuple[Toolchain, ...], look: Look) -> None:
        self._directory = directory
        self._digest = digest
        self._toolchains = toolchains
        self._look = look
        self._making = threading.Lock()
        self._current: Path | None = None

    def current(self) -> Path:
        """The directory of the base a new VM stands on."""
        with self._making:
            if self._current is None:
                hidden = self._look.found()
                self._current = self._base(hidden)
                beside = self._directory / f"{LAST}.new"
                beside.write_text(json.dumps(hidden), encoding="utf-8")
                beside.rename(self._directory / LAST)
            return self._current

    def likely(self) -> Path:
        """The same going by the last look: for a machine that runs nothing of anybody's."""
        try:
            hidden = tuple(json.loads((self._directory / LAST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return self.current()
        return self._base(hidden)

    def _base(self, hidden: Paths) -> Path:
        name = skeleton.base_name(self._digest, self._toolchains, hidden)
        return skeleton.ensure_base(self._directory, name, self._toolchains, hidden)
