from __future__ import annotations

from datetime import datetime

import pytest

from tests.unit.store.conftest import Clock
from vmpool.domain import User
from vmpool.domain.event import KINDS, MISSING, Change, Event, Wanted, kinds_of
from vmpool.errors import EventsGone
from vmpool.store import Store

pytestmark = pytest.mark.anyio
ALL = Wanted()


def event(
    number: int, user: User, kind: str = "vm.running", vm: int = 1, at: datetime | None = None
) -> Event:
    when = at or datetime(2026, 1, 2, 3, 4, 5, 678901)
    return Event(number, Change(user.id, kind, when, vm, facts={"name": "bo\u00df", "exit_code": 3}))


def numbers(events: list[Event]) -> list[int]:
    return [one.id for one in events]


async def test_what_is_appended_is_read_as_it_was(store: Store, user: User) -> None:
    whole = Change(
        user.id, "execution.finished", datetime(2026, 1, 2), 3, 4, 5, {"a": None, "b": [1.5, True]}
    )
    written = [Event(2**40, whole), event(2**40 + 1, user)]
    await store.events.append(written[:1])
    await store.events.append(written[1:])
    assert await store.events.after(user.id, 0, ALL, 10) == written
    assert await store.events.newest() == 2**40 + 1


async def test_a_batch_is_written_whole_or_not(store: Store, user: User) -> None:
    await store.events.append([event(1, user)])
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await store.events.append([event(2, user), event(1, user)])
    assert numbers(await store.events.after(user.id, 0, ALL, 10)) == [1]


async def test_each_reads_their_own_in_order_and_what_they_want(store: Store, user: User) -> None:
    other = await store.users.ensure("bob")
    kinds = ("vm.running", "execution.running", "execution.finished", MISSING)
    await store.events.append(
        [event(1 + place, other if place == 4 else user, kinds[place % 4], place % 2) for place in range(8)]
    )
    assert numbers(await store.events.after(user.id, 0, ALL, 100)) == [1, 2, 3, 4, 6, 7, 8]
    assert numbers(await store.events.after(user.id, 3, ALL, 2)) == [4, 6]
    assert numbers(await store.events.after(other.id, 0, ALL, 100)) == [5]
    executions = Wanted(kinds=kinds_of(["execution"]))
    assert numbers(await store.events.after(user.id, 0, executions, 100)) == [2, 3, 4, 6, 7, 8]
    # of VM 0, and what says that others may be missing
    assert numbers(await store.events.after(user.id, 0, Wanted(vm_id=0), 100)) == [1, 3, 4, 7, 8]
    assert numbers(await store.events.list(user.id, ALL, limit=2)) == [8, 7]
    assert numbers(await store.events.list(user.id, ALL, limit=100, before_id=4)) == [3, 2, 1]


async def test_what_is_removed_is_known_to_be(store: Store, user: User) -> None:
    other = await store.users.ensure("bob")
    await store.events.append([event(number, user) for number in range(1, 6)])
    await store.events.append([event(6, other)])
    await store.events.keep_newest(user.id, 2)
    assert await store.events.gone(user.id) == 3
    for behind in (0, 2):
        with pytest.raises(EventsGone):
            await store.events.after(user.id, behind, ALL, 10)
    assert numbers(await store.events.after(user.id, 3, ALL, 10)) == [4, 5]
    assert numbers(await store.events.after(other.id, 0, ALL, 10)) == [6]
    await store.events.keep_newest(user.id, 2)
    assert await store.events.gone(user.id) == 3


async def test_old_ones_go_but_the_last_number_stays(store: Store, user: User, clock: Clock) -> None:
    await store.events.append([event(number, user, at=clock()) for number in range(1, 3001)])
    await store.events.prune(clock())
    assert await store.events.gone(user.id) == 0
    await store.events.prune(clock.advance(seconds=1))
    assert await store.events.newest() == 3000
    assert numbers(await store.events.list(user.id, ALL, limit=10)) == [3000]
    assert await store.events.gone(user.id) == 3000


def test_words_name_kinds_or_families() -> None:
    assert kinds_of(["vm.running"]) == {"vm.running"}
    assert kinds_of(["snapshot", "vm.error"]) == {"snapshot.ready", "snapshot.deleted", "vm.error"}
    assert kinds_of([]) == frozenset()
    assert len(set(KINDS)) == len(KINDS)
    with pytest.raises(ValueError, match="vms"):
        kinds_of(["vm", "vms"])
