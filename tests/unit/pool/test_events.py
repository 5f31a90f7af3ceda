from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest

from vmpool.backends.fake import Fail
from vmpool.domain import ExecutionRequest, NetworkMode, NetworkPolicy
from vmpool.domain.event import Event, Wanted, kinds_of
from vmpool.errors import BackendFailed, EventsGone, StoreFailed, VMPoolError
from vmpool.pool import events as journal
from vmpool.pool.requests import LimitsRequest
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.store.events import Events

from .world import QUICK, World, command, eventually, vm_request

pytestmark = pytest.mark.anyio
ALL = Wanted()


async def seen(following: AsyncGenerator[Event | int, None], last: str) -> list[Event]:
    """Events up to one of this kind."""
    found: list[Event] = []
    with anyio.fail_after(10):
        async for value in following:
            if isinstance(value, Event):
                found.append(value)
                if value.change.kind == last:
                    return found
    raise AssertionError("ended")


def kinds(events: list[Event]) -> list[str]:
    return [event.change.kind for event in events]


async def life(world: World, pool: VMPoolManager, user: int) -> int:
    """A VM with everything that can happen to it; its id."""
    vm = await pool.create_vm(user, vm_request(network=NetworkMode.FILTERED))
    await pool.execute(user, vm.id, command("exit 3"))
    kept = await pool.snapshot(user, vm.id, "one")
    await pool.set_network(user, vm.id, NetworkPolicy(allow=("example.org",)))
    await pool.stop_vm(user, vm.id)
    await pool.change_limits(user, vm.id, LimitsRequest(cpu=0.5))
    await pool.restore(user, vm.id, kept.id)
    await pool.delete_snapshot(user, vm.id, kept.id)
    await pool.delete_vm(user, vm.id)
    return vm.id


LIFE = [
    "vm.creating",
    "vm.running",
    "execution.running",
    "execution.finished",
    "snapshot.ready",
    "vm.changed",
    "vm.stopping",
    "vm.stopped",
    "vm.changed",
    "vm.restoring",
    "vm.running",
    "snapshot.deleted",
    "vm.deleting",
    "vm.deleted",
]


async def test_every_change_is_told_in_order_and_to_nobody_else(world: World, pool: VMPoolManager) -> None:
    async with (
        aclosing(await pool.follow_events(world.ada, None, ALL)) as of_ada,
        aclosing(await pool.follow_events(world.bob, None, ALL)) as of_bob,
    ):
        vm_id = await life(world, pool, world.ada)
        found = await seen(of_ada, "vm.deleted")
        other = await pool.create_vm(world.bob, vm_request())
        assert {event.change.vm_id for event in await seen(of_bob, "vm.running")} == {other.id}
    assert kinds(found) == LIFE
    assert [event.id for event in found] == sorted({event.id for event in found})
    assert {event.change.vm_id for event in found} == {vm_id}
    by_kind = {event.change.kind: event.change for event in found}
    assert by_kind["execution.finished"].facts["exit_code"] == 3
    assert by_kind["vm.stopped"].facts == {"name": "test-vm", "from": "stopping"}
    assert by_kind["snapshot.ready"].facts == {"name": "one"}
    listed = await pool.list_events(world.ada, ALL, limit=100)
    assert listed[::-1] == found


async def test_following_goes_on_from_a_number(world: World, pool: VMPoolManager) -> None:
    await life(world, pool, world.ada)
    async with aclosing(await pool.follow_events(world.ada, 0, ALL)) as following:
        found = await seen(following, "vm.deleted")
    for place in range(len(found) - 1):
        async with aclosing(await pool.follow_events(world.ada, found[place].id, ALL)) as following:
            assert await seen(following, "vm.deleted") == found[place + 1 :]
    narrowed = Wanted(kinds=kinds_of(["snapshot", "vm.deleted"]))
    async with aclosing(await pool.follow_events(world.ada, 0, narrowed)) as following:
        assert kinds(await seen(following, "vm.deleted")) == [
            "snapshot.ready",
            "snapshot.deleted",
            "vm.deleted",
        ]


async def test_numbers_go_on_in_the_next_server(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        async with aclosing(await pool.follow_events(world.ada, 0, ALL)) as following:
            before = await seen(following, "vm.running")
        await pool.stop_vm(world.ada, vm.id)  # told by nobody before the server ends
    async with world.server() as pool:
        async with aclosing(await pool.follow_events(world.ada, before[-1].id, ALL)) as following:
            assert kinds(await seen(following, "server.started")) == [
                "vm.stopping",
                "vm.stopped",
                "server.started",
            ]
            await pool.start_vm(world.ada, vm.id)
            assert kinds(await seen(following, "vm.running")) == ["vm.starting", "vm.running"]
        assert await pool.list_events(world.bob, ALL) == []
        newest = (await pool.list_events(world.ada, ALL))[0].id
        with pytest.raises(EventsGone):
            await pool.follow_events(world.ada, newest + 10, ALL)


async def test_a_reader_that_is_too_late_hears_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SHORTEN_EVERY", 1)
    settings = replace(QUICK, keep_events=3)
    async with world.server(settings) as pool:
        async with aclosing(await pool.follow_events(world.ada, 0, ALL)) as slow:
            assert isinstance(await anext(slow), int)
            await life(world, pool, world.ada)

            async def shortened() -> bool:
                return kinds(await pool.list_events(world.ada, ALL)) == LIFE[:-4:-1]

            await eventually(shortened)
            with pytest.raises(EventsGone):
                await seen(slow, "vm.deleted")
        kept = await pool.list_events(world.ada, ALL)
        async with aclosing(await pool.follow_events(world.ada, 0, ALL)) as following:
            assert await seen(following, "vm.deleted") == kept[::-1]
        with pytest.raises(EventsGone):
            await pool.follow_events(world.ada, kept[-1].id - 5, ALL)


async def test_a_database_that_fails_costs_no_event_and_what_is_too_many_is_counted(
    world: World, pool: VMPoolManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "AGAIN", 0.02)
    monkeypatch.setattr(journal, "MOST_WAITING", 5)
    append, failures = Events.append, 0

    async def fail(self: Events, batch: list[Event]) -> None:
        nonlocal failures
        failures += 1
        raise StoreFailed("away")

    async with aclosing(await pool.follow_events(world.ada, None, ALL)) as following:
        monkeypatch.setattr(Events, "append", fail)
        await life(world, pool, world.ada)

        async def failed_twice() -> bool:
            return failures >= 2

        await eventually(failed_twice)
        monkeypatch.setattr(Events, "append", append)
        found = await seen(following, "events.missing")
    assert kinds(found) == [*LIFE[:5], "events.missing"]
    assert found[-1].change.facts == {"count": len(LIFE) - 5}


async def test_what_comes_to_nothing_is_told_too(world: World) -> None:
    async with world.server(snapshot=Fail(BackendFailed("no"))) as pool:
        async with aclosing(await pool.follow_events(world.ada, None, ALL)) as following:
            vm = await pool.create_vm(world.ada, vm_request())
            with pytest.raises(VMPoolError):
                await pool.snapshot(world.ada, vm.id)
            begun = await pool.start_execution(
                world.ada, vm.id, ExecutionRequest(command="sleep 60", background=True)
            )
            await pool.stop_vm(world.ada, vm.id)
            found = await seen(following, "vm.stopped")
    assert "execution.lost" in kinds(found) and "snapshot.deleted" not in kinds(found)
    lost = next(event.change for event in found if event.change.kind == "execution.lost")
    assert lost.execution_id == begun.id and "stopped" in str(lost.facts["failure"])


async def test_a_reader_ahead_of_the_writer_reads_nothing_twice(
    world: World, pool: VMPoolManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written can be read a moment before the writer knows that it is."""
    append, written, go_on = Events.append, anyio.Event(), anyio.Event()

    async def lingering(self: Events, batch: list[Event]) -> None:
        await append(self, batch)
        written.set()
        await go_on.wait()

    monkeypatch.setattr(Events, "append", lingering)
    await pool.create_vm(world.ada, vm_request())
    await written.wait()
    found: list[Event] = []
    async with aclosing(await pool.follow_events(world.ada, 0, ALL)) as following:
        with anyio.move_on_after(0.1):  # nothing more can come until the writer goes on
            async for value in following:
                if isinstance(value, Event):
                    found.append(value)  # noqa: PERF401 - kept also when the wait ends
    go_on.set()
    assert kinds(found) == ["vm.creating", "vm.running"]
