from __future__ import annotations

import os
import signal
import sqlite3
import stat
import sys
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import Connection, bindparam, text, update

from vmpool.errors import InvalidRequest, StoreFailed
from vmpool.store import Replay, Store, open_store
from vmpool.store.models import Base
from vmpool.store.statement import Statement

from .test_concurrency import at_once

pytestmark = pytest.mark.anyio

WRITER = """
import sys
import anyio
from vmpool.domain import Outcome, NewVM
from vmpool.store import open_store

async def main(url):
    async with open_store(url) as store:
        user = await store.users.ensure("ada")
        new = NewVM(user.id, "box", "python", "python", "fake", "none")
        vm = await store.vms.insert(new, lambda census: None)

        async def run(n):
            while True:
                begun = await store.executions.begin(vm.id, "x" * 5000, "python", 1)
                print("begun", begun.id, flush=True)
                await store.executions.finish(begun, Outcome("y" * 5000, "", 0, 0.1))
                print("finished", begun.id, flush=True)

        async with anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(run, n)

anyio.run(main, sys.argv[1])
"""


async def test_what_was_told_as_written_is_there_after_kill_9(url: str) -> None:
    told: dict[int, str] = {}
    async with await anyio.open_process([sys.executable, "-c", WRITER, url], stderr=None) as process:
        assert process.stdout is not None
        text_so_far = ""
        with anyio.fail_after(30):
            while text_so_far.count("\n") < 100:
                text_so_far += (await process.stdout.receive()).decode()
        process.send_signal(signal.SIGKILL)
        async for chunk in process.stdout:
            text_so_far += chunk.decode()
    for line in text_so_far.splitlines(keepends=True):
        if line.endswith("\n"):
            state, number = line.split()
            told[int(number)] = state
    async with open_store(url) as store:
        (vm,) = await store.vms.live()
        kept = {execution.id: execution for execution in await store.executions.list(vm.id, limit=10**6)}
        for number_told, last in told.items():
            assert last == "begun" or kept[number_told].state.value == "finished"
        assert told.keys() <= kept.keys()
        again = await store.executions.begin(vm.id, "1", "python", 1)
        assert again.id not in kept


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("nonsense", "not a URL"),
        ("", "not a URL"),
        ("mysql://user:hunter2@host/name", "neither sqlite nor postgresql"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
async def test_a_wrong_url_is_refused_without_telling_its_password(wrong: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        async with open_store(wrong):
            pytest.fail("it was opened")
    assert "hunter2" not in str(caught.value)
    assert caught.value.context == {"field": "database_url"}


async def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed):
        async with open_store(f"postgresql://ada@/name?host={tmp_path}"):
            pytest.fail("it was opened")


async def test_a_file_that_is_no_database_is_told_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(StoreFailed, match="not a database"):
        async with open_store(f"sqlite:///{path}"):
            pytest.fail("it was opened")
    assert path.read_text() == "not a database " * 100


async def test_a_place_that_cannot_be_written_is_told() -> None:
    with pytest.raises(StoreFailed):
        async with open_store("sqlite:////proc/vmpool/store.db"):
            pytest.fail("it was opened")


async def test_sqlite_is_private_durable_and_checks_references(tmp_path: Path) -> None:
    path = tmp_path / "new" / "100% mine.db"

    def write_through_reader(connection: Connection) -> None:
        connection.execute(text("DELETE FROM users"))

    umask = os.umask(0)
    try:
        async with open_store(f"sqlite:///{path}") as store:
            assert (
                await store.database.write(lambda c: c.execute(text("PRAGMA journal_mode")).scalar()) == "wal"
            )
            assert await store.database.write(lambda c: c.execute(text("PRAGMA foreign_keys")).scalar()) == 1
            with pytest.raises(StoreFailed, match="readonly"):
                await store.database.read(write_through_reader)
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    finally:
        os.umask(umask)
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["100% mine.db"]


NOBODY_ADMIN = Statement(update(Base.metadata.tables["users"]).values(admin=bindparam("admin")), ("admin",))


async def test_a_commit_returns_after_its_log_is_on_disk_and_a_write_behind_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    inner = os.fdatasync
    done = threading.Event()

    def fdatasync(descriptor: int) -> None:
        inner(descriptor)
        flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        if len(flushed) > before + 1:
            done.set()

    log = f"{tmp_path}/store.db-wal"
    before = 100
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        before = len(flushed)
        await store.database.write(lambda c: c.execute(text("DELETE FROM users")).rowcount)
        assert flushed[before:] == [log]
        store.database.prepare(NOBODY_ADMIN)
        await store.database.write_behind(NOBODY_ADMIN, {"admin": False})
        assert flushed[before:] == [log]
        assert await anyio.to_thread.run_sync(done.wait, 10)
    assert set(flushed) == {log}


async def test_a_write_behind_waits_in_a_thread_for_another_process(tmp_path: Path) -> None:
    other = sqlite3.connect(f"{tmp_path}/store.db", isolation_level=None, check_same_thread=False)
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        await anyio.to_thread.run_sync(other.execute, "BEGIN IMMEDIATE")
        store.database.prepare(NOBODY_ADMIN)
        told: list[int] = []

        async def write() -> None:
            told.append(await store.database.write_behind(NOBODY_ADMIN, {"admin": False}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for _ in range(20):  # the event loop goes on meanwhile
                await anyio.sleep(0.005)
            assert not told
            await anyio.to_thread.run_sync(other.execute, "COMMIT")
        assert told == [0]
    await anyio.to_thread.run_sync(other.close)


async def test_a_write_behind_to_a_closed_database_fails_as_every_write(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        store.database.prepare(NOBODY_ADMIN)
    with pytest.raises(StoreFailed):
        await store.database.write_behind(NOBODY_ADMIN, {"admin": False})


async def test_a_long_answer_is_kept_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    inner = Statement.run

    def run(self: Statement, connection: Connection, values: Mapping[str, Any]) -> int:
        threads.append(threading.get_ident())
        return inner(self, connection, values)

    monkeypatch.setattr(Statement, "run", run)
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        user = await store.users.ensure("ada")
        await store.idempotency.claim(user.id, "k", "POST /", "hash")
        await store.idempotency.complete(user.id, "k", 200, "x" * 100_000)
        kept = await store.idempotency.claim(user.id, "k", "POST /", "hash")
    assert isinstance(kept, Replay)
    assert len(kept.body) == 100_000
    assert threads
    assert threading.get_ident() not in threads


async def test_an_execution_of_no_vm_is_refused(store: Store) -> None:
    with pytest.raises(StoreFailed):
        await store.executions.begin(77, "1", "python", 1)


async def test_a_full_disk_fails_every_caller_and_the_next_write_works(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        pages = await store.database.write(lambda c: c.execute(text("PRAGMA page_count")).scalar_one())

        def limit(to: int, connection: Connection) -> None:
            connection.execute(text(f"PRAGMA max_page_count = {to}"))

        await store.database.write(partial(limit, pages))
        answers = await at_once(*(partial(store.users.ensure, f"{n}" * 9000) for n in range(10)))
        assert all(isinstance(answer, StoreFailed) for answer in answers), answers
        assert await store.users.list() == []
        await store.database.write(partial(limit, 1 << 30))
        made = await store.users.ensure("ada")
        assert await store.users.list() == [made]
