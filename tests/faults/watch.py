"""What a server does about the crash points it reaches: notes them, or dies at one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import anyio

from tests.faults.crash_points import Points

LOOPS = (
    "vmpool.pool.reconciler:Reconciler.run",
    "vmpool.pool.expiry:Expiry.run",
    "vmpool.pool.warm:Warmer.run",
    "vmpool.pool.warm_pool.keeper:WarmPool.run",
)
"""What runs beside every verb and is not part of one."""

_beside: ContextVar[bool] = ContextVar("beside", default=False)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@contextmanager
def beside() -> Iterator[None]:
    """What is done within, and every task begun within, is not part of the verb."""
    token = _beside.set(True)
    try:
        yield
    finally:
        _beside.reset(token)


EFFECT = ": effect "
EFFECTS = frozenset(
    {
        *("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink"),
        *(
            "os.truncate",
            "shutil.rmtree",
            "subprocess.Popen",
            "socket.bind",
            "socket.connect",
            "socket.sendmsg",
        ),
        *("fcntl.ioctl", "os.kill"),
    }
)
"""Audit events of the interpreter that change the host."""


class Watch:
    """Notes what is reached while a verb is under way, or dies there."""

    def __init__(self, points: Points, point: str | None) -> None:
        self.reached: dict[str, None] = {}
        self.last = time.monotonic()
        self._point = point
        self._on = False
        points.visited, points.entered = self.visited, self.entered
        sys.addaudithook(self._audited)

    @property
    def awaits(self) -> set[str]:
        """What was reached and is an await."""
        return {point for point in self.reached if EFFECT not in point}

    def begin(self) -> None:
        self._on = True
        self.last = time.monotonic()

    def end(self) -> None:
        self._on = False

    async def quiet(self, seconds: float) -> None:
        """Until nothing was reached for so long."""
        while (rest := self.last + seconds - time.monotonic()) > 0:  # noqa: ASYNC110 - threads reach points too
            await anyio.sleep(rest)

    def visited(self, point: str) -> None:
        if not self._on or _beside.get():
            return
        if point == self._point:
            self._on = False  # the signal is an effect too
            os.kill(os.getpid(), signal.SIGKILL)
        if point not in self.reached:  # what comes again and again, as in a loop, keeps no verb from ending
            self.reached[point] = None
            self.last = time.monotonic()

    def entered(self, function: str) -> None:
        if function in LOOPS:
            _beside.set(True)

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Each change of the host that a worker thread makes is a crash point too, named by who makes it."""
        if not self._on or _beside.get():
            return
        if event in EFFECTS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES):
            frame = sys._getframe(1)
            while frame.f_back and not frame.f_globals.get("__name__", "").startswith("vmpool."):
                frame = frame.f_back
            module = frame.f_globals.get("__name__", "")
            if module.startswith("vmpool.backends"):
                self.visited(f"{module}:{frame.f_code.co_qualname}{EFFECT}{event}")
