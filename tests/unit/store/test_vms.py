from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from vmpool.domain import VM, Census, Limits, NewVM, User, VMState
from vmpool.errors import IllegalTransition, NameTaken, PoolFull, QuotaExceeded, VMNotFound
from vmpool.store import Store
from vmpool.store.vms import Facts

from .conftest import Clock, admit_all

pytestmark = pytest.mark.anyio
New = Callable[..., NewVM]
ALL = frozenset(VMState)


async def delete(store: Store, vm: VM) -> VM:
    await store.vms.transition(vm.id, ALL, VMState.DELETING)
    return await store.vms.transition(vm.id, ALL, VMState.DELETED)


async def test_an_inserted_vm_reads_back_with_all_it_was_asked_for(
    store: Store, new: New, user: User, clock: Clock
) -> None:
    asked = new(
        "box-1",
        limits=Limits(cpu=0.5, memory=256, disk=100, processes=64),
        network="full",
        ttl=60,
        idle_timeout=30,
        idle_pause=20,
        env={"A": "ü=1\n", "B": ""},
        labels={"team": "blue"},
    )
    vm = await store.vms.insert(asked, admit_all)
    assert vm == VM(
        id=vm.id,
        user_id=user.id,
        name="box-1",
        state=VMState.CREATING,
        language="python",
        template="python",
        limits=asked.limits,
        backend="fake",
        isolation="none",
        created_at=clock.now,
        network="full",
        ttl=60,
        idle_timeout=30,
        idle_pause=20,
        env=asked.env,
        labels=asked.labels,
        last_used_at=clock.now,
    )
    assert await store.vms.get_by_id(vm.id) == vm
    assert isinstance(vm.limits.cpu, float)


async def test_admission_sees_what_counts_and_what_it_raises_leaves_no_row(store: Store, new: New) -> None:
    other = await store.users.ensure("bob")
    await store.vms.insert(new("a", limits=Limits(1.5, 100, 10)), admit_all)
    await store.vms.insert(new("b", user_id=other.id, limits=Limits(2, 200, 20)), admit_all)
    gone = await store.vms.insert(new("c", limits=Limits(4, 400, 40)), admit_all)
    await delete(store, gone)
    seen: list[Census] = []

    def refuse(census: Census) -> None:
        seen.append(census)
        raise PoolFull("memory", 1, 2)

    with pytest.raises(PoolFull):
        await store.vms.insert(new("d"), refuse)
    expected = Census(vms=2, of_user=1, memory=300, cpu=3.5, disk=30)
    assert seen == [expected]
    assert await store.vms.census(gone.user_id) == expected


async def test_a_name_is_unique_per_user_until_its_vm_is_deleted(store: Store, new: New, vm: VM) -> None:
    with pytest.raises(NameTaken, match="box"):
        await store.vms.insert(new("box"), admit_all)
    other = await store.users.ensure("bob")
    await store.vms.insert(new("box", user_id=other.id), admit_all)
    await store.vms.transition(vm.id, ALL, VMState.DELETING)
    with pytest.raises(NameTaken):
        await store.vms.insert(new("box"), admit_all)
    await store.vms.transition(vm.id, ALL, VMState.DELETED)
    again = await store.vms.insert(new("box"), admit_all)
    assert again.id != vm.id


async def test_a_vm_is_found_by_id_and_name_by_its_owner_only(store: Store, user: User, vm: VM) -> None:
    other = await store.users.ensure("bob")
    for reference in (vm.id, str(vm.id), "box"):
        assert await store.vms.get(user.id, reference) == vm
        with pytest.raises(VMNotFound):
            await store.vms.get(other.id, reference)
    for unknown in (0, -1, vm.id + 1, 2**31, 10**30, str(10**30), "", "BOX", "b\x00x", "\ud800", "²"):
        with pytest.raises(VMNotFound):
            await store.vms.get(user.id, unknown)
    await delete(store, vm)
    for reference in (vm.id, "box"):
        with pytest.raises(VMNotFound):
            await store.vms.get(user.id, reference)
    assert (await store.vms.get_by_id(vm.id)).state is VMState.DELETED
    for never in (vm.id + 1, 10**30):
        with pytest.raises(VMNotFound):
            await store.vms.get_by_id(never)


async def test_lists_are_newest_first_paged_and_filtered(store: Store, new: New, user: User) -> None:
    other = await store.users.ensure("bob")
    mine = [await store.vms.insert(new(f"m{n}"), admit_all) for n in range(5)]
    theirs = await store.vms.insert(new("t", user_id=other.id), admit_all)
    mine[1] = await delete(store, mine[1])
    mine[3] = await store.vms.transition(mine[3].id, ALL, VMState.RUNNING)
    assert await store.vms.list(user.id) == [mine[4], mine[3], mine[2], mine[0]]
    assert await store.vms.list(None) == [theirs, mine[4], mine[3], mine[2], mine[0]]
    assert await store.vms.list(user.id, limit=2) == [mine[4], mine[3]]
    assert await store.vms.list(user.id, limit=2, before_id=mine[3].id) == [mine[2], mine[0]]
    assert await store.vms.list(user.id, states=[VMState.RUNNING]) == [mine[3]]
    assert await store.vms.list(user.id, states=[VMState.DELETED, VMState.RUNNING]) == [mine[3], mine[1]]
    assert await store.vms.list(user.id, states=[]) == []
    assert await store.vms.live() == [mine[0], mine[2], mine[3], mine[4], theirs]


async def test_a_life_records_its_times(store: Store, vm: VM, clock: Clock) -> None:
    started = clock.advance(seconds=1)
    running = await store.vms.transition(
        vm.id,
        [VMState.CREATING],
        VMState.RUNNING,
        container_id="c1",
        isolation="namespaces",
        warnings=("disk is not limited",),
    )
    assert running == replace(
        vm,
        state=VMState.RUNNING,
        started_at=started,
        last_used_at=started,
        container_id="c1",
        isolation="namespaces",
        warnings=("disk is not limited",),
    )
    await store.vms.transition(vm.id, [VMState.RUNNING], VMState.STOPPING)
    stopped = clock.advance(seconds=1)
    rested = await store.vms.transition(vm.id, [VMState.STOPPING], VMState.STOPPED)
    assert (rested.started_at, rested.stopped_at) == (started, stopped)
    await store.vms.transition(vm.id, [VMState.STOPPED], VMState.STARTING)
    restarted = clock.advance(seconds=1)
    running = await store.vms.transition(vm.id, [VMState.STARTING], VMState.RUNNING)
    assert (running.started_at, running.stopped_at) == (restarted, None)
    deleted = await delete(store, vm)
    assert deleted.deleted_at == clock.now


async def test_an_error_has_a_reason_that_leaving_it_clears(store: Store, vm: VM) -> None:
    broken = await store.vms.transition(vm.id, ALL, VMState.ERROR, error="no\x00agent")
    assert (broken.state, broken.error) == (VMState.ERROR, "no␀agent")
    assert (await store.vms.transition(vm.id, ALL, VMState.STARTING)).error is None


async def test_a_transition_needs_the_right_state_and_an_arrow(store: Store, vm: VM) -> None:
    with pytest.raises(IllegalTransition) as caught:
        await store.vms.transition(vm.id, [VMState.RUNNING], VMState.STOPPING)
    assert caught.value.context == {"state": "creating", "target": "stopping"}
    with pytest.raises(IllegalTransition):
        await store.vms.transition(vm.id, ALL, VMState.STOPPED)  # no arrow from creating
    with pytest.raises(IllegalTransition):
        await store.vms.transition(vm.id, [], VMState.RUNNING)
    assert await store.vms.get_by_id(vm.id) == vm
    for never in (vm.id + 1, 10**30):
        with pytest.raises(VMNotFound):
            await store.vms.transition(never, ALL, VMState.RUNNING)


async def test_a_transition_of_another_generation_is_refused(store: Store, vm: VM) -> None:
    await store.vms.transition(vm.id, ALL, VMState.RUNNING)
    moved = await store.vms.transition(vm.id, ALL, VMState.RESTORING, if_generation=1, generation=2)
    assert moved.generation == 2
    with pytest.raises(IllegalTransition, match="generation 2"):
        await store.vms.transition(vm.id, ALL, VMState.RUNNING, if_generation=1)
    back = await store.vms.transition(vm.id, ALL, VMState.RUNNING, if_generation=2, restored_from=7)
    assert back.restored_from == 7


async def test_facts_are_recorded_without_a_change_of_state(store: Store, vm: VM) -> None:
    limits = Limits(2, 64, 32, 16)
    noted = await store.vms.record(vm.id, container_id="c", warnings=("w",), limits=limits)
    assert noted == replace(vm, container_id="c", warnings=("w",), limits=limits)
    with pytest.raises(IllegalTransition):
        await store.vms.record(vm.id, if_generation=2, container_id="d")
    await delete(store, vm)
    with pytest.raises(IllegalTransition):
        await store.vms.record(vm.id, container_id="d")


async def test_wanted_limits_are_an_intent_that_counts_as_the_larger(store: Store, vm: VM) -> None:
    have, wanted = vm.limits, replace(vm.limits, memory=vm.limits.memory + 100, disk=vm.limits.disk - 50)
    seen: list[Census] = []
    announced = await store.vms.intend(vm, wanted, seen.append)
    assert (announced.limits, announced.wanted) == (have, wanted)
    assert [(census.memory, census.disk) for census in seen] == [(have.memory, have.disk)]
    assert await store.vms.get_by_id(vm.id) == announced
    census = await store.vms.census(vm.user_id)
    assert (census.memory, census.disk) == (wanted.memory, have.disk)
    with pytest.raises(IllegalTransition):
        await store.vms.intend(replace(vm, generation=2), wanted, admit_all)
    done = await store.vms.record(vm.id, limits=wanted, wanted=None)
    assert (done.limits, done.wanted) == (wanted, None)

    def refuse(census: Census) -> None:
        raise PoolFull("memory", 1, census.memory)

    with pytest.raises(PoolFull):
        await store.vms.intend(done, have, refuse)
    assert await store.vms.get_by_id(vm.id) == done


async def test_last_use_never_moves_back(store: Store, vm: VM, clock: Clock) -> None:
    later = clock.now + timedelta(minutes=5)
    await store.vms.touch(vm.id, later)
    await store.vms.touch(vm.id)
    assert (await store.vms.get_by_id(vm.id)).last_used_at == later
    await store.vms.touch(vm.id + 1)


async def test_a_deleted_vm_is_purged_once_nothing_hangs_on_it(
    store: Store, new: New, vm: VM, clock: Clock
) -> None:
    with_history = await store.vms.insert(new("history"), admit_all)
    kept = await store.vms.insert(new("kept"), admit_all)
    await store.executions.begin(with_history.id, "1", "python", 1)
    snapshot = await store.snapshots.begin(kept)
    live = await store.vms.insert(new("live"), admit_all)
    for each in (vm, with_history, kept):
        await delete(store, each)
    clock.advance(days=1)
    assert await store.vms.purge(clock.now - timedelta(days=2)) == 0
    assert await store.vms.purge(clock.now) == 1
    with pytest.raises(VMNotFound):
        await store.vms.get_by_id(vm.id)
    await store.snapshots.delete(snapshot.id)
    assert await store.vms.purge(clock.now) == 1
    assert (await store.vms.get_by_id(with_history.id)).state is VMState.DELETED
    assert await store.vms.live() == [live]


async def test_an_id_is_never_given_twice(store: Store, new: New, vm: VM, clock: Clock) -> None:
    await delete(store, vm)
    clock.advance(days=1)
    assert await store.vms.purge(clock.now) == 1
    assert (await store.vms.insert(new(), admit_all)).id > vm.id


async def test_a_quota_refusal_passes_through_unchanged(store: Store, new: New) -> None:
    refusal = QuotaExceeded(1)

    def refuse(_: Census) -> None:
        raise refusal

    with pytest.raises(QuotaExceeded) as caught:
        await store.vms.insert(new(), refuse)
    assert caught.value is refusal


async def test_a_move_is_a_transition(store: Store, new: New, vm: VM, clock: Clock) -> None:
    """All that a transition records, known without asking and the same when read back."""
    facts: Facts = {"container_id": "c-1", "isolation": "namespaces", "warnings": ("one", "ü"), "error": None}
    running = await store.vms.move(vm, VMState.RUNNING, **facts)
    assert (running.started_at, running.last_used_at, running.stopped_at) == (clock.now, clock.now, None)
    assert (running.container_id, running.warnings, running.error) == ("c-1", ("one", "ü"), None)
    assert await store.vms.get_by_id(vm.id) == running
    clock.advance(seconds=5)
    for state in (VMState.STOPPING, VMState.STOPPED, VMState.STARTING, VMState.RUNNING, VMState.ERROR):
        running = await store.vms.move(running, state)
        assert await store.vms.get_by_id(vm.id) == running
    changed = await store.vms.move(running, VMState.DELETING, limits=Limits(memory=7), error="why")
    assert (changed.limits, changed.error) == (Limits(memory=7), "why")
    assert await store.vms.get_by_id(vm.id) == changed


async def test_a_move_from_where_the_vm_is_not_is_refused(store: Store, vm: VM) -> None:
    running = await store.vms.move(vm, VMState.RUNNING)
    with pytest.raises(IllegalTransition):
        await store.vms.move(vm, VMState.RUNNING)
    with pytest.raises(IllegalTransition):
        await store.vms.move(running, VMState.CREATING)
    with pytest.raises(IllegalTransition):
        await store.vms.move(replace(running, generation=2), VMState.STOPPING)
    with pytest.raises(VMNotFound):
        await store.vms.move(replace(running, id=999), VMState.STOPPING)
    assert await store.vms.get_by_id(vm.id) == running
