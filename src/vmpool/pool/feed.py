"""Live output on its way to whoever follows a VM's logs."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import anyio

Stream = Literal["stdout", "stderr"]

FOLLOWER_BUFFER = 1 << 20


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A piece of output of one execution.  at: naive UTC.  skipped: bytes lost before it to a slow reader."""

    execution_id: int
    stream: Stream
    data: str
    at: datetime
    skipped: int = 0


@dataclass(slots=True, eq=False)
class Follower:
    """One reader of one VM's output.  Holds at most FOLLOWER_BUFFER characters; past that it skips."""

    vm_id: int
    closed: bool = False
    _entries: deque[LogEntry] = field(default_factory=deque)
    _size: int = 0
    _skipped: int = 0
    _noted: set[int] | None = field(default_factory=set)
    _news: anyio.Event = field(default_factory=anyio.Event)

    def offer(self, execution_id: int, stream: Stream, text: str, at: datetime) -> None:
        """Take a piece without ever waiting: a slow reader must not slow the program."""
        if self._noted is not None:
            self._noted.add(execution_id)
        if self._size + len(text) > FOLLOWER_BUFFER and self._entries:
            self._skipped += len(text)
            return
        self._entries.append(LogEntry(execution_id, stream, text, at, self._skipped))
        self._skipped = 0
        self._size += len(text)
        self._news.set()

    def stop_noting(self) -> set[int]:
        """Whose output came so far; who asks has read the history by now."""
        noted, self._noted = self._noted or set(), None
        return noted

    def close(self) -> None:
        """No more will come; what is held can still be read."""
        self.closed = True
        self._news.set()

    async def next(self) -> LogEntry | None:
        """The next piece, waiting for it; None once closed and read to the end."""
        while not self._entries:
            if self.closed:
                return None
            self._news = anyio.Event()
            await self._news.wait()
        entry = self._entries.popleft()
        self._size -= len(entry.data)
        return entry


class Feed:
    """Hands each piece of live output to the followers of its VM."""

    def __init__(self) -> None:
        self._followers: dict[int, set[Follower]] = {}

    @contextmanager
    def following(self, vm_id: int) -> Iterator[Follower]:
        """A follower that hears of everything from now on."""
        follower = Follower(vm_id)
        self._followers.setdefault(vm_id, set()).add(follower)
        try:
            yield follower
        finally:
            of_vm = self._followers[vm_id]
            of_vm.discard(follower)
            if not of_vm:
                del self._followers[vm_id]

    def followed(self, vm_id: int) -> bool:
        """Whether anybody listens: if not, nothing need be decoded."""
        return vm_id in self._followers

    def publish(self, vm_id: int, execution_id: int, stream: Stream, text: str, at: datetime) -> None:
        """Give a piece to every follower of the VM."""
        for follower in self._followers.get(vm_id, ()):
            follower.offer(execution_id, stream, text, at)

    def close(self, vm_id: int) -> None:
        """The VM is gone: its followers end once they have read what they hold."""
        for follower in self._followers.get(vm_id, ()):
            follower.close()


class LiveText:
    """Turns a stream's bytes into text piece by piece, a character never cut apart."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The text that is complete with these bytes."""
        return self._decoder.decode(data)
