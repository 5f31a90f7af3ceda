"""Ordering one server's life after another on one state directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.host_state import MARK


class Lives:
    """The servers of one state directory, one at a time."""

    def __init__(self, state_dir: Path, backend: str, process: subprocess.Popen[str], log: Path) -> None:
        self._state_dir = state_dir
        self._backend = backend
        self._process = process
        self._log = log
        self._number = 0
        self._past: dict[str, Any] = {}

    def next(
        self, scene: str | None, settings: dict[str, Any] | None = None, point: str | None = None
    ) -> dict[str, Any]:
        """All that one server told, from its start until its end.

        It checks what came of the one before; an AssertionError says of which, and what it found.
        """
        self._number += 1
        point_before = self._past.get("point")
        order = {
            "state_dir": str(self._state_dir),
            "backend": self._backend,
            "scene": scene,
            "number": self._number,
            "point": point,
            "settings": settings or {},
            "past": self._past,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        facts: dict[str, Any] = {}
        for line in self._process.stdout:
            facts |= json.loads(line)
            if "ended" in facts:
                break
        if "failure" in facts:
            died_at = f"after a death at {point_before}" if "checked" not in facts else "in the scene"
            raise AssertionError(f"{died_at}:\n{facts['failure']}\n{self._log.read_text()[-3000:]}")
        assert "ended" in facts, self._log.read_text()[-3000:]
        assert facts["ended"] == (-signal.SIGKILL if point and "lived" not in facts else 0), facts
        self._past = facts | {"point": point}
        return facts

    def clear(self) -> None:
        """A server that deletes every VM, after which nothing is left on the host."""
        assert self.next(None)["cleared"]

    def forget(self) -> None:
        """A check failed: the next server is not to check the same again."""
        self._past = {}


@contextmanager
def lives(state_dir: Path, backend: str) -> Iterator[Lives]:
    """A zygote for this state directory; it logs beside it."""
    log = state_dir.with_name("log")
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, MARK: str(state_dir)},
        )
    found = Lives(state_dir, backend, process, log)
    try:
        yield found
        found.clear()
    except BaseException:
        found.forget()
        found.clear()
        raise
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()
