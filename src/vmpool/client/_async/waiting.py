"""How this client waits.  `_sync/waiting.py` is the same for threads, and written by hand as well."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")

Lock = anyio.Lock


async def sleep(seconds: float) -> None:
    """Let `seconds` pass."""
    await anyio.sleep(seconds)


async def apart(work: Callable[[], T]) -> T:
    """What the blocking `work` returns, without holding up anything else."""
    return await anyio.to_thread.run_sync(work)


def cleanup(seconds: float) -> AbstractContextManager[object]:
    """A block that cancellation does not reach, for at most `seconds`."""
    return anyio.move_on_after(seconds, shield=True)
