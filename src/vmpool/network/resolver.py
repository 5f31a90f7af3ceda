"""Names to addresses, by the host's own resolver, for guests that may ask for anything at any rate.

A lookup runs in a thread that cannot be stopped, so each is a task of its own that may outlive whoever asked
and holds its place until its thread has ended.  A VM has a few places only: its slow names are its own.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread

from vmpool.network.addresses import Address, parse

Lookup = Callable[[str], list[str]]
"""From a name to addresses, in the order they should be tried; may block; OSError."""

MAX_ADDRESSES: Final = 8
"""Of one name."""
_CACHED: Final = 1024
_THREADS: Final = 64
_OF_A_VM: Final = 4
"""Threads one VM may hold."""


class Unresolved(Exception):
    """The name has no address, or none in time."""


def system_lookup(name: str) -> list[str]:
    """As any program on the host resolves it."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@dataclass(slots=True)
class _Answer:
    """addresses: empty: there are none.  waiting: who asks.  begin: ends the wait for a place."""

    addresses: tuple[Address, ...] = ()
    until: float = 0.0
    waiting: int = 0
    begin: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    done: anyio.Event = field(default_factory=anyio.Event)


class Lane:
    """One VM's lookups: those under way by name, and its places."""

    def __init__(self) -> None:
        self.asking: dict[str, _Answer] = {}
        self.places = anyio.Semaphore(_OF_A_VM)


class Resolver:
    """tasks: own the lookups.  keep, keep_failure: seconds an answer is used again.  timeout: seconds."""

    def __init__(
        self,
        tasks: anyio.abc.TaskGroup,
        lookup: Lookup = system_lookup,
        *,
        keep: float = 30.0,
        keep_failure: float = 5.0,
        timeout: float = 10.0,
    ) -> None:
        self._tasks = tasks
        self._lookup = lookup
        self._keep = keep
        self._keep_failure = keep_failure
        self._timeout = timeout
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._threads = anyio.CapacityLimiter(_THREADS)

    async def resolve(self, name: str, lane: Lane) -> tuple[Address, ...]:
        """Its addresses, at least one and at most MAX_ADDRESSES; Unresolved."""
        answer = self._answers.get(name)
        if answer is None or answer.until <= anyio.current_time():
            answer = await self._asked(name, lane)
        if not answer.addresses:
            raise Unresolved(f"{name} has no address")
        return answer.addresses

    async def _asked(self, name: str, lane: Lane) -> _Answer:
        answer = lane.asking.get(name)
        if answer is None:
            answer = lane.asking[name] = _Answer()
            self._tasks.start_soon(self._ask, name, lane, answer)
        answer.waiting += 1
        try:
            with anyio.move_on_after(self._timeout):
                await answer.done.wait()
        finally:
            answer.waiting -= 1
            if not answer.waiting:
                answer.begin.cancel()
        if not answer.done.is_set():
            raise Unresolved(f"{name} was not resolved within {self._timeout:g} seconds")
        return answer

    async def _ask(self, name: str, lane: Lane, answer: _Answer) -> None:
        with answer.begin:
            await lane.places.acquire()
        if answer.begin.cancelled_caught:  # nobody asks any more
            del lane.asking[name]
            return
        try:
            found = await anyio.to_thread.run_sync(
                partial(self._lookup, name), abandon_on_cancel=True, limiter=self._threads
            )
            parsed = [address for address in map(parse, found) if address is not None]
            answer.addresses = tuple(dict.fromkeys(parsed))[:MAX_ADDRESSES]
        except (OSError, UnicodeError):
            pass  # no address is the answer
        finally:
            lane.places.release()
            del lane.asking[name]
            self._remember(name, answer)
            answer.done.set()

    def _remember(self, name: str, answer: _Answer) -> None:
        answer.until = anyio.current_time() + (self._keep if answer.addresses else self._keep_failure)
        self._answers[name] = answer
        self._answers.move_to_end(name)
        while len(self._answers) > _CACHED:
            self._answers.popitem(last=False)
