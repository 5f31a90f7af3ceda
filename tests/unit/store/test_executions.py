from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from vmpool.domain import VM, Execution, ExecutionState, NewVM, Outcome, VMState
from vmpool.errors import ExecutionNotFound
from vmpool.store import Retention, Store, utcnow
from vmpool.store.executions import Files, WithFile

from .conftest import Clock, admit_all

pytestmark = pytest.mark.anyio

OUTCOME = Outcome(
    output="1\n",
    error="warning: ü\n",
    exit_code=137,
    execution_time=1.25,
    timed_out=True,
    oom_killed=True,
    truncated=True,
    cpu_time=0.5,
    max_memory=5 << 30,
)


async def run(store: Store, vm: VM, code: str = "1", output: str = "") -> Execution:
    begun = await store.executions.begin(vm.id, code, "python", 1)
    return await store.executions.finish(begun, Outcome(output, "", 0, 0.1))


async def test_an_execution_is_announced_then_finished(store: Store, vm: VM, clock: Clock) -> None:
    begun = await store.executions.begin(vm.id, "print(1)", "python", 3)
    assert begun == Execution(
        begun.id, vm.id, "print(1)", "python", ExecutionState.RUNNING, clock.now, 3.0, None, None
    )
    assert await store.executions.get(vm.id, begun.id) == begun
    done = await store.executions.finish(begun, OUTCOME)
    assert done == replace(begun, state=ExecutionState.FINISHED, outcome=OUTCOME)
    assert await store.executions.get(vm.id, begun.id) == done


async def test_the_time_of_an_execution_can_be_given(store: Store, vm: VM, clock: Clock) -> None:
    at = clock.now - timedelta(seconds=7)
    assert (await store.executions.begin(vm.id, "1", "python", 3, at)).executed_at == at


async def test_the_first_settlement_holds(store: Store, vm: VM) -> None:
    begun = await store.executions.begin(vm.id, "1", "python", 3)
    done = await store.executions.finish(begun, OUTCOME)
    assert await store.executions.finish(begun, replace(OUTCOME, output="other")) == done
    assert await store.executions.lose(begun, "the agent went away") == done
    assert await store.executions.lose_running(vm.id, "stopped") == 0
    assert await store.executions.get(vm.id, begun.id) == done


async def test_a_lost_execution_keeps_what_is_known(store: Store, vm: VM) -> None:
    bare = await store.executions.begin(vm.id, "1", "python", 3)
    lost = await store.executions.lose(bare, "the agent went away")
    assert lost == replace(bare, state=ExecutionState.LOST, failure="the agent went away")
    partly = await store.executions.begin(vm.id, "1", "python", 3)
    lost = await store.executions.lose(partly, "stopped", OUTCOME)
    assert lost == replace(partly, state=ExecutionState.LOST, failure="stopped", outcome=OUTCOME)
    assert await store.executions.finish(partly, OUTCOME) == lost


async def test_what_runs_in_a_vm_is_listed_and_lost_together(
    store: Store, vm: VM, new: Callable[..., NewVM]
) -> None:
    other = await store.vms.insert(new("other"), admit_all)
    first, second = [await store.executions.begin(vm.id, "1", "python", 3) for _ in range(2)]
    elsewhere = await store.executions.begin(other.id, "1", "python", 3)
    await run(store, vm)
    assert await store.executions.running() == [first, second, elsewhere]
    assert await store.executions.running(vm.id) == [first, second]
    assert await store.executions.lose_running(vm.id, "the VM was stopped") == 2
    assert await store.executions.running() == [elsewhere]
    assert (await store.executions.get(vm.id, first.id)).failure == "the VM was stopped"


async def test_an_execution_is_found_in_its_own_vm_only(
    store: Store, vm: VM, new: Callable[..., NewVM]
) -> None:
    other = await store.vms.insert(new("other"), admit_all)
    done = await run(store, vm)
    for vm_id, execution_id in ((other.id, done.id), (vm.id, done.id + 1), (vm.id, 2**31), (vm.id, -1)):
        with pytest.raises(ExecutionNotFound):
            await store.executions.get(vm_id, execution_id)
    with pytest.raises(ExecutionNotFound):
        await store.executions.finish(replace(done, id=done.id + 1), OUTCOME)
    with pytest.raises(ExecutionNotFound):
        await store.executions.lose(replace(done, id=2**40), "gone")


async def test_history_is_paged_newest_first_and_tailed_oldest_first(store: Store, vm: VM) -> None:
    done = [await run(store, vm, str(n)) for n in range(5)]
    assert await store.executions.list(vm.id) == done[::-1]
    assert await store.executions.list(vm.id, limit=2) == [done[4], done[3]]
    assert await store.executions.list(vm.id, limit=2, before_id=done[3].id) == [done[2], done[1]]
    assert await store.executions.list(vm.id, before_id=2**70) == done[::-1]
    assert await store.executions.list(vm.id, before_id=0) == []
    assert await store.executions.tail(vm.id, 2) == [done[3], done[4]]
    assert await store.executions.list(vm.id + 1) == []


async def test_history_past_its_age_is_pruned(store: Store, vm: VM, clock: Clock) -> None:
    await run(store, vm)
    still_running = await store.executions.begin(vm.id, "1", "python", 3)
    clock.advance(days=2)
    young = await run(store, vm)
    assert (await store.executions.prune(clock(), Retention(age=timedelta(days=3)))).rows == 0
    assert (await store.executions.prune(clock(), Retention(age=timedelta(days=1)))).rows == 1
    assert await store.executions.list(vm.id) == [young, still_running]


async def test_history_past_its_count_is_pruned_per_vm(
    store: Store, vm: VM, new: Callable[..., NewVM]
) -> None:
    other = await store.vms.insert(new("other"), admit_all)
    still_running = await store.executions.begin(vm.id, "1", "python", 3)
    done = [await run(store, vm) for _ in range(4)]
    elsewhere = [await run(store, other) for _ in range(2)]
    assert (await store.executions.prune(utcnow(), Retention(count=2))).rows == 2
    assert await store.executions.list(vm.id) == [done[3], done[2], still_running]
    assert await store.executions.list(other.id) == elsewhere[::-1]


async def test_history_past_its_bytes_is_pruned_oldest_first(store: Store, vm: VM) -> None:
    done = [await run(store, vm, code="x" * 10, output="ü" * 45) for _ in range(5)]  # 100 bytes each
    assert (await store.executions.prune(utcnow(), Retention(size=500))).rows == 0
    assert (await store.executions.prune(utcnow(), Retention(size=299))).rows == 3
    assert await store.executions.list(vm.id) == [done[4], done[3]]
    assert (await store.executions.prune(utcnow(), Retention())).rows == 0
    assert (await store.executions.prune(utcnow(), Retention(size=0))).rows == 2


async def test_pruning_more_than_one_chunk(store: Store, vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmpool.store.executions.PRUNE_CHUNK", 3)
    done = [await run(store, vm) for _ in range(8)]
    assert (await store.executions.prune(utcnow(), Retention(count=1))).rows == 7
    assert await store.executions.list(vm.id) == [done[-1]]


async def test_history_outlives_its_vm(store: Store, vm: VM) -> None:
    done = await run(store, vm)
    await store.vms.transition(vm.id, list(VMState), VMState.DELETING)
    await store.vms.transition(vm.id, list(VMState), VMState.DELETED)
    assert await store.executions.get(vm.id, done.id) == done


async def test_rows_name_the_files_that_outputs_lie_in(
    store: Store, vm: VM, new: Callable[..., NewVM], clock: Clock
) -> None:
    other = await store.vms.insert(new("other"), admit_all)
    plain = await run(store, vm)
    begun = [await store.executions.begin(one.id, "1", "python", 3) for one in (vm, other, vm)]
    outcome = Outcome("head", "", 0, 1.0, truncated=True, output_bytes=9, output_file=7)
    both = replace(outcome, error_bytes=3, error_file=3)
    done = [
        await store.executions.finish(one, what)
        for one, what in zip(begun, (outcome, both, both), strict=True)
    ]
    assert [one.outcome for one in done] == [outcome, both, both]
    assert (await store.executions.get(vm.id, done[0].id)).outcome == outcome
    assert [what.dropped for what in (outcome, both)] == [2, 2]
    assert sorted(await store.executions.bytes_in_files()) == [
        (vm.id, vm.user_id, 17),
        (other.id, vm.user_id, 10),
    ]
    first, second = WithFile(done[0].id, vm.id, 7), WithFile(done[1].id, other.id, 10)
    assert await store.executions.oldest_with_file(vm.id) == first
    assert await store.executions.oldest_with_file(other.id) == second
    assert await store.executions.oldest_with_file(other.id, vm.user_id) == second
    assert await store.executions.oldest_with_file(other.id + 1) is None
    assert await store.executions.oldest_with_file(other.id + 1, vm.user_id) == first
    assert await store.executions.oldest_with_file(other.id + 1, vm.user_id + 1) is None
    running = await store.executions.begin(vm.id, "1", "python", 3)
    ids = [plain.id, done[0].id, done[1].id, running.id, running.id + 1]
    assert await store.executions.files_of(ids) == [
        Files(plain.id, running=False, output=False, error=False),
        Files(done[0].id, running=False, output=True, error=False),
        Files(done[1].id, running=False, output=True, error=True),
        Files(running.id, running=True, output=False, error=False),
    ]
    await store.executions.forget_files(done[0].id)
    left = (await store.executions.get(vm.id, done[0].id)).outcome
    assert left is not None and (left.output_file, left.error_file, left.dropped) == (0, None, 9)
    assert await store.executions.oldest_with_file(other.id + 1, vm.user_id) == second
    clock.advance(days=2)
    removed = await store.executions.prune(clock(), Retention(age=timedelta(days=1)))
    assert removed.rows == 4
    assert removed.files == [WithFile(done[1].id, other.id, 10), WithFile(done[2].id, vm.id, 10)]
