"""An execution run to its end through an agent client, with what it wrote: for tests below the pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from vmpool.agent import Client, Exit, Output, ProcessSpec


@dataclass(frozen=True, slots=True)
class Captured:
    """How it ended and what was kept.  stdout_dropped, stderr_dropped: bytes written past the limit.
    warm: a warm interpreter ran it."""

    exit: Exit
    stdout: bytes
    stderr: bytes
    stdout_dropped: int = 0
    stderr_dropped: int = 0
    warm: bool = False

    @property
    def truncated(self) -> bool:
        """More was written than was kept."""
        return bool(self.stdout_dropped or self.stderr_dropped)


async def run(
    client: Client,
    execution_id: int,
    spec: ProcessSpec,
    *,
    inline_limit: int = 1 << 20,
    observer: Callable[[Output], None] | None = None,
) -> Captured:
    """Start, collect, release; cancelling it ends the execution's whole tree.

    inline_limit: bytes kept of each stream; the rest is counted and dropped.  observer: called with every
    piece of output, before it is cut.
    """
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    dropped = {"stdout": 0, "stderr": 0}
    process = await client.start(execution_id, spec)
    try:
        async for event in process.events():
            if isinstance(event, Exit):
                await process.release()
                out, err = bytes(kept["stdout"]), bytes(kept["stderr"])
                return Captured(event, out, err, dropped["stdout"], dropped["stderr"], process.warm)
            if observer is not None:
                observer(event)
            room = inline_limit - len(kept[event.stream])
            dropped[event.stream] += max(0, len(event.data) - room)
            kept[event.stream] += event.data[:room]
    except anyio.get_cancelled_exc_class():
        process.abandon(kill=True)
        raise
    raise AssertionError("events() ended without an Exit")
