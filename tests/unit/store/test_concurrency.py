from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

import anyio
import pytest
from sqlalchemy import Connection, insert, text

from vmpool.domain import VM, Census, ExecutionState, NewVM, Outcome, User, VMState
from vmpool.errors import IllegalTransition, NameTaken, QuotaExceeded
from vmpool.store import Store, open_store
from vmpool.store.models import Base
from vmpool.store.statement import Statement

from .conftest import admit_all

pytestmark = pytest.mark.anyio
New = Callable[..., NewVM]


async def at_once(*calls: Callable[[], Awaitable[object]]) -> list[object]:
    """What each call answers or raises, all started together."""
    answers: list[object] = []

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        try:
            answers.append(await call())
        except Exception as failure:
            answers.append(failure)

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(one, call)
    return answers


def ten_at_most(census: Census) -> None:
    if census.of_user >= 10:
        raise QuotaExceeded(10)


async def test_of_fifty_inserts_at_once_a_quota_of_ten_admits_ten(store: Store, new: New, user: User) -> None:
    answers = await at_once(*(partial(store.vms.insert, new(f"box-{n}"), ten_at_most) for n in range(50)))
    assert sum(isinstance(answer, VM) for answer in answers) == 10
    assert sum(isinstance(answer, QuotaExceeded) for answer in answers) == 40
    assert len(await store.vms.list(user.id)) == 10


async def test_the_quota_holds_across_two_servers_of_one_database(
    store: Store, url: str, new: New, user: User
) -> None:
    async with open_store(url) as second:
        answers = await at_once(
            *(
                partial(each.vms.insert, new(f"box-{n}"), ten_at_most)
                for n in range(20)
                for each in (store, second)
            )
        )
    # each name is tried twice, so some are refused for that; never is one too many admitted
    assert sum(isinstance(answer, VM) for answer in answers) == 10
    assert all(isinstance(answer, VM | QuotaExceeded | NameTaken) for answer in answers)
    assert len(await store.vms.list(user.id)) == 10


async def test_of_many_equal_names_at_once_one_is_taken(store: Store, new: New) -> None:
    answers = await at_once(*[lambda: store.vms.insert(new("same"), admit_all)] * 20)
    assert sum(isinstance(answer, VM) for answer in answers) == 1
    assert sum(isinstance(answer, NameTaken) for answer in answers) == 19


async def test_of_many_equal_transitions_at_once_one_happens(store: Store, vm: VM) -> None:
    answers = await at_once(*[lambda: store.vms.transition(vm.id, [VMState.CREATING], VMState.RUNNING)] * 20)
    assert sum(isinstance(answer, VM) for answer in answers) == 1
    assert sum(isinstance(answer, IllegalTransition) for answer in answers) == 19


async def test_opposite_transitions_at_once_leave_one_winner(store: Store, vm: VM) -> None:
    targets = [VMState.RUNNING, VMState.ERROR, VMState.DELETING]
    answers = await at_once(*(partial(store.vms.transition, vm.id, [VMState.CREATING], to) for to in targets))
    winners = [answer for answer in answers if isinstance(answer, VM)]
    assert len(winners) == 1
    assert await store.vms.get_by_id(vm.id) == winners[0]


async def test_finish_and_lose_at_once_agree(store: Store, vm: VM) -> None:
    begun = await store.executions.begin(vm.id, "1", "python", 1)
    answers = await at_once(
        lambda: store.executions.finish(begun, Outcome("1", "", 0, 0.1)),
        lambda: store.executions.lose(begun, "stopped"),
    )
    assert answers[0] == answers[1] == await store.executions.get(vm.id, begun.id)


async def test_many_executions_at_once_are_all_recorded(store: Store, vm: VM) -> None:
    async def run(n: int) -> None:
        begun = await store.executions.begin(vm.id, f"code {n}", "python", 1)
        done = await store.executions.finish(begun, Outcome(f"output {n}", "", n, 0.1))
        assert done.outcome is not None
        assert (done.code, done.outcome.exit_code) == (f"code {n}", n)

    async with anyio.create_task_group() as tasks:
        for n in range(100):
            tasks.start_soon(run, n)
    kept = await store.executions.list(vm.id, limit=1000)
    assert {(e.code, e.outcome.output) for e in kept if e.outcome} == {
        (f"code {n}", f"output {n}") for n in range(100)
    }
    assert all(e.state is ExecutionState.FINISHED for e in kept)


async def test_work_that_fails_undoes_itself_and_nothing_of_its_neighbours(store: Store) -> None:
    def insert(name: str, fail: bool) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            connection.execute(
                text("INSERT INTO users (name, admin, created_at) VALUES (:name, false, '2026-01-01')"),
                {"name": name},
            )
            if fail:
                raise LookupError(name)

        return work

    answers = await at_once(*(partial(store.database.write, insert(f"u{n}", n % 3 == 0)) for n in range(30)))
    assert sum(isinstance(answer, LookupError) for answer in answers) == 10
    assert {user.name for user in await store.users.list()} == {f"u{n}" for n in range(30) if n % 3}


async def test_a_cancelled_write_never_began_or_was_carried_through(store: Store) -> None:
    told: list[str] = []
    first = anyio.Event()

    async def ensure(name: str) -> None:
        await store.users.ensure(name)
        told.append(name)
        first.set()

    async with anyio.create_task_group() as tasks:
        for n in range(40):
            tasks.start_soon(ensure, f"u{n}")
        await first.wait()
        tasks.cancel_scope.cancel()
    kept = {user.name for user in await store.users.list()}
    assert set(told) <= kept
    await store.users.ensure("after")  # nobody waits for a turn that does not come
    assert {user.name for user in await store.users.list()} == kept | {"after"}


async def test_every_waiting_writer_can_be_cancelled_at_any_moment(store: Store) -> None:
    for delay in range(12):
        with anyio.move_on_after(delay / 1000):
            await at_once(*(partial(store.users.ensure, f"d{delay}-{n}") for n in range(8)))
        with anyio.fail_after(10):
            await store.users.ensure(f"after-{delay}")


async def test_a_reader_sees_what_was_written_before(store: Store) -> None:
    async def write_then_read(n: int) -> None:
        made = await store.users.ensure(f"u{n}")
        assert await store.users.get(made.id) == made

    async with anyio.create_task_group() as tasks:
        for n in range(30):
            tasks.start_soon(write_then_read, n)


def _add(number: int, connection: Connection) -> None:
    connection.execute(text("INSERT INTO users (name, admin, created_at) VALUES (:name, false, :at)"),
                       {"name": f"user-{number}", "at": datetime(2026, 1, 1)})  # fmt: skip


async def test_write_behind_and_group_commits_at_once_all_hold(store: Store) -> None:
    database = store.database
    insert_user = Statement(insert(Base.metadata.tables["users"]), ("name", "admin", "created_at"))
    database.prepare(insert_user)

    def behind(n: int) -> Awaitable[int]:
        values = {"name": f"user-{n}", "admin": False, "created_at": datetime(2026, 1, 1)}
        return database.write_behind(insert_user, values)

    with anyio.fail_after(30):
        await at_once(
            *(partial(behind, n) if n % 3 else partial(database.write, partial(_add, n)) for n in range(60))
        )
    assert {user.name for user in await store.users.list()} == {f"user-{n}" for n in range(60)}
