"""A server process that dies at one exact moment: from then on nothing it does reaches the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio.abc import ByteStream

from vmpool.backends.base import Machine, MachineKey, MachineSpec, StoredSnapshot, Usage
from vmpool.backends.fake import FakeBackend, FakeHost
from vmpool.errors import BackendUnreachable, StoreFailed, VMPoolError
from vmpool.store.database import Database, Work
from vmpool.store.statement import Statement

T = TypeVar("T")


class Crash:
    """Dies at the `at`th side effect (a commit or a backend's act): just before it, just after, or half way.

    half way: like before, but a machine being created is left half made.
    """

    def __init__(self, host: FakeHost, at: int, moment: str) -> None:
        self.host = host
        self.at = at
        self.moment = moment
        self.count = 0
        self.happened = anyio.Event()

    async def effect(
        self, act: Callable[[], Awaitable[T]], failure: VMPoolError, key: MachineKey | None = None
    ) -> T:
        """One side effect."""
        self.alive(failure)
        self.count += 1
        now = self.count == self.at
        if now and self.moment != "after":
            if self.moment == "half" and key is not None and key not in self.host.machines:
                await self.host.plant(key, half=True)
            self.die(failure)
        result = await act()
        if now:
            self.die(failure)
        self.alive(failure)
        return result

    def alive(self, failure: VMPoolError) -> None:
        """The dead do nothing."""
        if self.happened.is_set():
            raise failure

    def die(self, failure: VMPoolError) -> None:
        self.happened.set()
        for key in self.host.machines:
            self.host.cut(key)
        raise failure


class MortalDatabase(Database):
    """A database as a server that dies sees it."""

    dialect = "sqlite"

    def __init__(self, inner: Database, crash: Crash) -> None:
        self._inner = inner
        self._crash = crash

    async def read(self, work: Work[T]) -> T:
        self._crash.alive(StoreFailed("dead"))
        return await self._inner.read(work)

    async def write(self, work: Work[T]) -> T:
        write = partial(self._inner.write, work)
        return await self._crash.effect(write, StoreFailed("dead"))

    async def write_behind(self, statement: Statement, values: Mapping[str, Any], *, text: int = 0) -> int:
        write = partial(self._inner.write_behind, statement, values, text=text)
        return await self._crash.effect(write, StoreFailed("dead"))

    def prepare(self, statement: Statement) -> None:
        self._inner.prepare(statement)

    async def close(self) -> None:
        """Somebody else's."""


class MortalBackend(FakeBackend):
    """A backend as a server that dies sees it."""

    def __init__(self, host: FakeHost, crash: Crash) -> None:
        super().__init__(host=host)
        self._crash = crash

    async def _effect(self, act: Callable[[], Awaitable[T]], key: MachineKey | None = None) -> T:
        return await self._crash.effect(act, BackendUnreachable("dead"), key)

    async def create(self, key: MachineKey, spec: MachineSpec) -> Machine:
        act = super().create
        return await self._effect(lambda: act(key, spec), key)

    async def start(self, key: MachineKey) -> Machine:
        act = super().start
        return await self._effect(lambda: act(key))

    async def stop(self, key: MachineKey) -> None:
        act = super().stop
        await self._effect(lambda: act(key))

    async def destroy(self, key: MachineKey) -> None:
        act = super().destroy
        await self._effect(lambda: act(key))

    async def resize(self, key: MachineKey, spec: MachineSpec) -> Machine:
        act = super().resize
        return await self._effect(lambda: act(key, spec))

    async def snapshot(self, key: MachineKey, reference: str) -> StoredSnapshot:
        act = super().snapshot
        return await self._effect(lambda: act(key, reference))

    async def delete_snapshot(self, reference: str) -> None:
        act = super().delete_snapshot
        await self._effect(lambda: act(reference))

    async def dial(self, key: MachineKey) -> ByteStream:
        self._crash.alive(BackendUnreachable("dead"))
        return await super().dial(key)

    async def usage(self, key: MachineKey) -> Usage:
        self._crash.alive(BackendUnreachable("dead"))
        return await super().usage(key)
