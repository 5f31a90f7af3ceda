"""How this client waits.  `_async/waiting.py` is the same for an event loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

T = TypeVar("T")

Lock = threading.Lock


def sleep(seconds: float) -> None:
    """Let `seconds` pass."""
    time.sleep(seconds)


def apart(work: Callable[[], T]) -> T:
    """What `work` returns."""
    return work()


def cleanup(seconds: float) -> AbstractContextManager[object]:
    """A block that cancellation does not reach: threads are not cancelled, the call's own timeout holds."""
    return nullcontext(seconds)
