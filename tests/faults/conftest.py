from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest


@pytest.fixture
def clients() -> Iterator[ThreadPoolExecutor]:
    """Threads in which clients wait for their answers."""
    with ThreadPoolExecutor(8) as pool:
        yield pool
