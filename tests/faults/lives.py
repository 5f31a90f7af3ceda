"""Ordering one server's life after another on one state directory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LOG_CHARACTERS = 3000
"""Of the end of a zygote's log, shown with a failure."""


class Zygote:
    """One process of `zygote.py`.  log: what its servers log."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def live(self, order: dict[str, Any]) -> dict[str, Any]:
        """All that one server told, from its start until its end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        facts: dict[str, Any] = {}
        for line in self._process.stdout:
            facts |= json.loads(line)
            if "ended" in facts:
                return facts
        raise AssertionError(f"the zygote ended:\n{self.log()}")

    def log(self) -> str:
        """The end of it."""
        return self._log.read_text()[-LOG_CHARACTERS:]


@contextmanager
def zygote(log: Path) -> Iterator[Zygote]:
    """One that serves until the block ends."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    with process:
        yield Zygote(process, log)
        assert process.stdin is not None
        process.stdin.close()


class Lives:
    """The servers of one state directory, one at a time."""

    def __init__(self, zygote: Zygote, state_dir: Path, backend: str) -> None:
        self._zygote = zygote
        self._common = {"state_dir": str(state_dir), "backend": backend}
        self._number = 0
        self._past: dict[str, Any] = {}

    def next(
        self, scene: str | None, settings: dict[str, Any] | None = None, point: str | None = None
    ) -> dict[str, Any]:
        """Have one server live; all that it told.

        It checks what came of the one before; an AssertionError says of which, and what it found.
        """
        self._number += 1
        before = self._past
        facts = self._zygote.live(
            {
                **self._common,
                "scene": scene,
                "number": self._number,
                "point": point,
                "settings": settings or {},
                "past": before,
            }
        )
        if "failure" in facts:
            late = "checked" in facts or not before
            where = f"in {scene}" if late else f"in {before['scene']}, after a death at {before['point']}"
            raise AssertionError(f"{where}:\n{facts['failure']}\n{self._zygote.log()}")
        assert facts["ended"] == (-signal.SIGKILL if point and "lived" not in facts else 0), facts
        self._past = {**facts, "point": point} if scene else {}
        return facts

    def clear(self) -> None:
        """A server that deletes every VM, after which nothing is left on the host."""
        assert self.next(None)["cleared"]

    def forget(self) -> None:
        """A check failed: the next server is not to check the same again."""
        self._past = {}


@contextmanager
def lives(zygote: Zygote, state_dir: Path, backend: str) -> Iterator[Lives]:
    """The servers of a fresh state directory, which is cleared at the end."""
    found = Lives(zygote, state_dir, backend)
    try:
        yield found
    except BaseException:
        found.forget()
        found.clear()
        raise
    found.clear()
