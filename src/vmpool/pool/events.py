"""Changes on their way into the database, and to whoever follows them from there."""

from __future__ import annotations

import builtins
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from typing import NoReturn

import anyio

from vmpool.domain import VM, Execution, Snapshot, VMState
from vmpool.domain.event import (
    MISSING,
    SERVER_STARTED,
    SNAPSHOT_DELETED,
    SNAPSHOT_READY,
    TEMPLATE_READY,
    VM_CHANGED,
    Change,
    Event,
    Wanted,
)
from vmpool.domain.template import Template
from vmpool.domain.template_build import Build
from vmpool.errors import EventsGone, VMPoolError
from vmpool.store.events import Events
from vmpool.store.text import storable

logger = logging.getLogger(__name__)

GATHER = 0.02
"""Seconds changes gather before they are written together."""
BATCH = 200
"""Written in one statement, which holds up the event loop for well under a millisecond."""
MOST_WAITING = 20_000
"""Changes that wait for a database that fails; what comes then is counted as missing."""
AGAIN = 1.0
"""Seconds until a batch that the database did not take is written again."""
PAGE = 200
"""Events a follower reads at once."""
SHORTEN_EVERY = 1000
"""Events of a user between two looks at how many there are."""
LEAP = 1_000_000
"""Numbers a server leaves out before its first: more than a power failure can make the database forget."""
LONGEST_REASON = 500


class Journal:
    """Every change of this server's users' things, numbered, written and told.

    clock: the time now as naive UTC.  keep: events of one user.
    """

    def __init__(self, rows: Events, clock: Callable[[], datetime], keep: int) -> None:
        self._rows = rows
        self._clock = clock
        self._keep = keep
        self._waiting: builtins.list[Change] = []
        self._missing: Counter[int] = Counter()
        self._work = anyio.Event()
        self._writing = anyio.Lock()
        self._news: dict[int, anyio.Event] = {}
        self._since_shortened: Counter[int] = Counter()
        self.newest = 0
        """The greatest number that is written."""

    async def open(self) -> None:
        """Learn where the numbers go on; before anything is noted."""
        self.newest = await self._rows.newest() + LEAP

    # -- what changed

    def vm(self, before: VM | None, vm: VM) -> None:
        """A VM's row was written."""
        if before is None or before.state is not vm.state:
            facts: dict[str, object] = {"name": vm.name}
            if before is not None:
                facts["from"] = before.state.value
            if vm.state is VMState.ERROR and vm.error:
                facts["error"] = storable(vm.error[:LONGEST_REASON])
            self._note(Change(vm.user_id, f"vm.{vm.state}", self._clock(), vm.id, facts=facts))
        elif before.limits != vm.limits or before.network_policy != vm.network_policy:
            self._note(Change(vm.user_id, VM_CHANGED, self._clock(), vm.id, facts={"name": vm.name}))

    def execution(self, user_id: int, execution: Execution) -> None:
        """An execution's row was written."""
        facts: dict[str, object] = {}
        outcome = execution.outcome
        if outcome is not None:
            facts["exit_code"] = outcome.exit_code
            facts["execution_time"] = outcome.execution_time
            if outcome.timed_out:
                facts["timed_out"] = True
            if outcome.oom_killed:
                facts["oom_killed"] = True
        if execution.failure is not None:
            facts["failure"] = storable(execution.failure[:LONGEST_REASON])
        if execution.background:
            facts["background"] = True
        kind = f"execution.{execution.state}"
        self._note(Change(user_id, kind, self._clock(), execution.vm_id, execution.id, facts=facts))

    def snapshot(self, snapshot: Snapshot, *, deleted: bool = False, imported: bool = False) -> None:
        """A snapshot is there, or no more.  imported: it came as a file."""
        kind = SNAPSHOT_DELETED if deleted else SNAPSHOT_READY
        self._note(
            Change(
                snapshot.user_id,
                kind,
                self._clock(),
                snapshot.vm_id,
                snapshot_id=snapshot.id,
                facts={"name": storable(snapshot.name), **({"imported": True} if imported else {})},
            )
        )

    def template(self, template: Template, kind: str = TEMPLATE_READY) -> None:
        """A template is there, has changed, or is no more."""
        facts = {"template_id": template.id, "name": template.name}
        self._note(Change(template.user_id, kind, self._clock(), facts=facts))

    def build(self, build: Build, kind: str) -> None:
        """A template is being built, or its build has ended without one."""
        facts: dict[str, object] = {"build_id": build.id, "name": build.name}
        if build.failure is not None:
            facts["failure"] = storable(build.failure[:LONGEST_REASON])
        self._note(Change(build.user_id, kind, self._clock(), facts=facts))

    def started(self, user_ids: set[int]) -> None:
        """This server begins: these users' things may have changed without an event."""
        for user_id in sorted(user_ids):
            self._note(Change(user_id, SERVER_STARTED, self._clock()))

    def _note(self, change: Change) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._missing[change.user_id] += 1
            return
        if not self._waiting:
            self._work.set()
        self._waiting.append(change)

    # -- writing

    async def run(self) -> NoReturn:
        """For ever: write what has gathered and wake who follows."""
        while True:
            await self._work.wait()
            await anyio.sleep(GATHER)
            try:
                await self.flush()
                await self._shorten()
            except VMPoolError:
                logger.exception("%d changes have no event yet", len(self._waiting))
                await anyio.sleep(AGAIN)

    async def flush(self) -> None:
        """Write all that waits; StoreFailed where the database does not take it, and it waits on."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        while self._waiting or self._missing:
            batch, missing = self._waiting[:BATCH], dict(self._missing)
            if len(batch) < BATCH:
                batch += self._told_missing(missing)
            else:
                missing = {}
            events = [Event(self.newest + 1 + place, change) for place, change in enumerate(batch)]
            with anyio.CancelScope(shield=True):  # what is written is not written again
                await self._rows.append(events)
                del self._waiting[: len(batch)]
                self._missing -= Counter(missing)
                self.newest += len(events)
            self._tell(events)
        if self._work.is_set():
            self._work = anyio.Event()

    def _told_missing(self, missing: Mapping[int, int]) -> builtins.list[Change]:
        now = self._clock()
        return [Change(user_id, MISSING, now, facts={"count": count}) for user_id, count in missing.items()]

    def _tell(self, events: builtins.list[Event]) -> None:
        for user_id in {event.change.user_id for event in events}:
            news = self._news.pop(user_id, None)
            if news is not None:
                news.set()
        for event in events:
            self._since_shortened[event.change.user_id] += 1

    async def _shorten(self) -> None:
        for user_id, count in list(self._since_shortened.items()):
            if count >= SHORTEN_EVERY:
                del self._since_shortened[user_id]
                await self._rows.keep_newest(user_id, self._keep)

    # -- reading

    async def list(
        self, user_id: int, wanted: Wanted, *, limit: int, before_id: int | None = None
    ) -> builtins.list[Event]:
        """The user's events, newest first."""
        return await self._rows.list(user_id, wanted, limit=limit, before_id=before_id)

    async def follow(
        self, user_id: int, after: int | None, wanted: Wanted
    ) -> AsyncGenerator[Event | int, None]:
        """The user's events after that number and all that come, for ever.

        after: None: from now on; 0: from the oldest that is kept.  The first value is the number it goes on
        from.  EventsGone at once, or later when a reader is too slow.
        """
        if after is None:
            after = self.newest
        elif after == 0:
            after = await self._rows.gone(user_id)
        elif after > self.newest:
            raise EventsGone(after)  # of another server, or of a later state of this one than was restored
        first = await self.page(user_id, after, wanted)
        return self._following(user_id, after, wanted, first)

    async def page(self, user_id: int, after: int, wanted: Wanted) -> tuple[builtins.list[Event], int]:
        """The next events, and the number up to which they are all."""
        newest = self.newest
        found = await self._rows.after(user_id, after, wanted, PAGE)
        if len(found) == PAGE:
            return found, found[-1].id
        # what was just written is seen here a moment before `newest` says so
        return found, max(newest, after, *(event.id for event in found[-1:]))

    def news(self, user_id: int) -> anyio.Event:
        """Set once something more of the user's is written."""
        return self._news.setdefault(user_id, anyio.Event())

    async def gone(self, user_id: int) -> int:
        """The greatest number of the user's events that are not kept any more."""
        return await self._rows.gone(user_id)

    async def _following(
        self, user_id: int, position: int, wanted: Wanted, page: tuple[builtins.list[Event], int]
    ) -> AsyncGenerator[Event | int, None]:
        yield position
        found, position = page
        while True:
            for event in found:
                yield event
            news = self.news(user_id)  # before the look, so that none is missed
            found, position = await self.page(user_id, position, wanted)
            if not found:
                await news.wait()
