"""What can go wrong with a backend, by name: `FakeBackend(create=Slow(2.0), dial=Fail(error, times=1))`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import anyio

from vmpool.errors import BackendFailed

T = TypeVar("T")


class Fault(Protocol):
    """Stands before one verb and decides whether, when and with what answer it happens."""

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do `act`, or what this fault does instead."""


class Slow:
    """The verb takes this many seconds longer, before it does anything."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        await anyio.sleep(self.seconds)
        return await act()


class Never:
    """The verb does nothing and never answers."""

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        await anyio.sleep_forever()
        raise AssertionError("sleep_forever returned")


class Fail:
    """The verb does nothing and raises.  times: how often; None for always."""

    def __init__(self, error: Exception, times: int | None = None) -> None:
        self.error = error
        self.times = times

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        if self.times is None:
            raise self.error
        if self.times > 0:
            self.times -= 1
            raise self.error
        return await act()


class LoseAfterCreate:
    """The verb is done and its answer is lost.  times: how often; None for always."""

    def __init__(self, times: int | None = None) -> None:
        self.times = times

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        answer = await act()
        if self.times is None or self.times > 0:
            if self.times is not None:
                self.times -= 1
            raise BackendFailed("the backend's answer was lost", dispatch="outcome_unknown")
        return answer


class Hold:
    """The verb waits until `release`; `reached` is set once somebody waits."""

    def __init__(self) -> None:
        self.reached = anyio.Event()
        self._released = anyio.Event()

    def release(self) -> None:
        """Let everybody on."""
        self._released.set()

    async def apply(self, act: Callable[[], Awaitable[T]]) -> T:
        self.reached.set()
        await self._released.wait()
        return await act()


class ForgetOnRestart:
    """Given as a positional fault: entering the backend drops every machine made before."""
