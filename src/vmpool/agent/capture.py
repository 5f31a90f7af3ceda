"""Run one execution to its end and keep a bounded part of what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from vmpool.agent.base import AgentClient, Exit, Output, Process, ProcessSpec
from vmpool.agent.process import RemoteProcess

DEFAULT_INLINE_LIMIT = 1 << 20
"""Bytes of each of standard output and standard error that are kept."""


@dataclass(frozen=True, slots=True)
class Captured:
    """How it ended and what was kept.  stdout_dropped, stderr_dropped: bytes written past the limit."""

    exit: Exit
    stdout: bytes
    stderr: bytes
    stdout_dropped: int = 0
    stderr_dropped: int = 0

    @property
    def truncated(self) -> bool:
        """More was written than was kept."""
        return bool(self.stdout_dropped or self.stderr_dropped)


class Capture:
    """Collects output as it comes; still holds what had come when the agent is lost on the way.

    inline_limit: bytes kept of each stream; the rest is counted and dropped.
    """

    def __init__(self, inline_limit: int = DEFAULT_INLINE_LIMIT) -> None:
        self.limit = inline_limit
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.stdout_dropped = 0
        self.stderr_dropped = 0

    def add(self, output: Output) -> None:
        kept = self.stdout if output.stream == "stdout" else self.stderr
        room = self.limit - len(kept)
        data = output.data
        if len(data) > room:
            if output.stream == "stdout":
                self.stdout_dropped += len(data) - room
            else:
                self.stderr_dropped += len(data) - room
            data = data[:room]
        kept += data

    async def drain(self, process: Process, observer: Callable[[Output], None] | None = None) -> Captured:
        """Consume the process to its end.  observer: called with every piece of output, before it is cut."""
        async for event in process.events():
            if isinstance(event, Exit):
                return Captured(
                    event, bytes(self.stdout), bytes(self.stderr), self.stdout_dropped, self.stderr_dropped
                )
            if observer is not None:
                observer(event)
            self.add(event)
        raise AssertionError("events() ended without an Exit")


async def run(
    client: AgentClient,
    execution_id: int,
    spec: ProcessSpec,
    *,
    inline_limit: int = DEFAULT_INLINE_LIMIT,
    capture: Capture | None = None,
    observer: Callable[[Output], None] | None = None,
) -> Captured:
    """Start, collect, release.

    Cancelling it ends the execution's whole tree.  capture: pass one to keep what had come if this raises
    (AgentRefused, AgentUnreachable with its `dispatch`).
    """
    if capture is None:
        capture = Capture(inline_limit)
    process = await client.start(execution_id, spec)
    try:
        captured = await capture.drain(process, observer)
    except anyio.get_cancelled_exc_class():
        if isinstance(process, RemoteProcess):
            process.abandon(kill=True)
        raise
    await process.release()
    return captured
