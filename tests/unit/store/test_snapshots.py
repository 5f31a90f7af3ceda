from __future__ import annotations

from collections.abc import Callable

import pytest

from vmpool.domain import VM, NewVM, Snapshot, SnapshotState, User
from vmpool.errors import Conflict, SnapshotNotFound
from vmpool.store import Store

from .conftest import Clock, admit_all

pytestmark = pytest.mark.anyio


async def test_a_snapshot_is_announced_then_ready(store: Store, user: User, vm: VM, clock: Clock) -> None:
    begun = await store.snapshots.begin(vm, "before")
    assert begun == Snapshot(
        id=begun.id,
        vm_id=vm.id,
        user_id=user.id,
        name="before",
        size=0,
        backend="fake",
        reference=f"snapshot-{begun.id}",
        base="",
        created_at=clock.now,
        state=SnapshotState.PENDING,
    )
    with pytest.raises(SnapshotNotFound):
        await store.snapshots.get(user.id, vm.id, begun.id)
    assert await store.snapshots.list(vm.id) == []
    assert await store.snapshots.pending() == [begun]
    ready = await store.snapshots.complete(begun.id, base="bookworm", size=5 << 30)
    assert (ready.state, ready.base, ready.size) == (SnapshotState.READY, "bookworm", 5 << 30)
    for reference in (begun.id, str(begun.id), "before"):
        assert await store.snapshots.get(user.id, vm.id, reference) == ready
    assert await store.snapshots.pending() == []
    with pytest.raises(SnapshotNotFound):
        await store.snapshots.complete(begun.id, base="other", size=1)


async def test_a_snapshot_without_a_name_is_named_by_its_id(store: Store, vm: VM) -> None:
    first, second = await store.snapshots.begin(vm), await store.snapshots.begin(vm)
    assert (first.name, second.name) == (f"snapshot-{first.id}", f"snapshot-{second.id}")
    assert first.id != second.id


async def test_a_name_is_unique_within_a_vm(store: Store, vm: VM, new: Callable[..., NewVM]) -> None:
    begun = await store.snapshots.begin(vm, "s")
    with pytest.raises(Conflict, match="already has a snapshot named 's'"):
        await store.snapshots.begin(vm, "s")
    other = await store.vms.insert(new("other"), admit_all)
    await store.snapshots.begin(other, "s")
    await store.snapshots.delete(begun.id)
    assert (await store.snapshots.begin(vm, "s")).id > begun.id


async def test_a_default_name_somebody_took_gets_a_tail(store: Store, vm: VM) -> None:
    first = await store.snapshots.begin(vm)
    taken = await store.snapshots.begin(vm, f"snapshot-{first.id + 2}")
    third = await store.snapshots.begin(vm)
    assert third.name != taken.name
    assert third.name.startswith(f"snapshot-{third.id}-")


async def test_a_snapshot_of_another_user_or_vm_is_not_found(
    store: Store, user: User, vm: VM, new: Callable[..., NewVM]
) -> None:
    other = await store.vms.insert(new("other"), admit_all)
    stranger = await store.users.ensure("bob")
    begun = await store.snapshots.begin(vm, "s")
    await store.snapshots.complete(begun.id, base="", size=1)
    for user_id, vm_id, reference in (
        (stranger.id, vm.id, begun.id),
        (user.id, other.id, begun.id),
        (user.id, vm.id, begun.id + 1),
        (user.id, vm.id, "t"),
        (user.id, vm.id, 2**40),
    ):
        with pytest.raises(SnapshotNotFound):
            await store.snapshots.get(user_id, vm_id, reference)


async def test_deleting_is_announced_first(store: Store, user: User, vm: VM) -> None:
    begun = await store.snapshots.begin(vm)
    await store.snapshots.complete(begun.id, base="", size=1)
    going = await store.snapshots.begin_delete(begun.id)
    assert going.state is SnapshotState.DELETING
    with pytest.raises(SnapshotNotFound):
        await store.snapshots.get(user.id, vm.id, begun.id)
    assert await store.snapshots.pending() == [going]
    assert await store.snapshots.all() == [going]
    await store.snapshots.delete(begun.id)
    await store.snapshots.delete(begun.id)
    assert await store.snapshots.all() == []
    with pytest.raises(SnapshotNotFound):
        await store.snapshots.begin_delete(begun.id)


async def test_lists_are_newest_first_and_paged(store: Store, vm: VM) -> None:
    ready = []
    for _ in range(4):
        begun = await store.snapshots.begin(vm)
        ready.append(await store.snapshots.complete(begun.id, base="", size=1))
    assert await store.snapshots.list(vm.id) == ready[::-1]
    assert await store.snapshots.list(vm.id, limit=1, before_id=ready[2].id) == [ready[1]]
