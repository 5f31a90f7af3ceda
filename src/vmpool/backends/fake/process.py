"""What a scripted program sees of its machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

from vmpool.backends.fake.files import Files

Much = Literal["all", "line", "some"]
"""How much of standard input to wait for."""
Interrupt = Callable[[], None]


class Exited(Exception):
    """The program ends with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Inside(Protocol):
    """One process: where it stands, what it may touch, where its output goes.

    interrupt: what SIGINT does to it; None: it ends the process.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    files: Files
    hostname: str
    pid: int
    interrupt: Interrupt | None

    async def write(self, stream: int, data: bytes) -> None:
        """Write to standard output (1) or standard error (2), waiting while nobody reads."""

    async def read(self, much: Much = "all") -> bytes:
        """From standard input: all until its end, a line with its end, or what is there; empty at the end."""
