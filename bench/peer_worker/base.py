"""What the worker asks of a peer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Sandbox = Any
"""Whatever object the peer gives out."""


class Peer(ABC):
    """One peer in its best way of working; `image` is what its containers are made from."""

    distribution: str
    """Its name on the package index."""

    def __init__(self, image: str) -> None:
        self.image = image

    @abstractmethod
    async def make(self) -> Sandbox:
        """A sandbox in which code can run."""

    @abstractmethod
    async def run(self, sandbox: Sandbox, code: str) -> str:
        """What the Python program prints."""

    @abstractmethod
    async def destroy(self, sandbox: Sandbox) -> None:
        """Stop and delete it, in the peer's own way."""

    async def make_ready(self, count: int) -> None:
        """Told before `count` sandboxes are asked for: a pool fills itself."""
        del count


async def threaded(call: Callable[[], T]) -> T:
    """A peer's blocking call, in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, call)
