"""Whole outputs: on disk as they were written, in bounds, and gone when no row names them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

import anyio
import pytest

from vmpool.domain import Execution, ExecutionRequest, ExecutionState
from vmpool.errors import OutputNotKept
from vmpool.pool.settings import PoolSettings
from vmpool.pool.spool import REPLAYED_BYTES, Stream
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import QUICK, World, code, eventually, pending, vm_request

pytestmark = pytest.mark.anyio

SMALL = replace(QUICK, max_output=1000, keep_free=0, keep_output_share=1)
"""Under which most is too much for a row."""
BYTES = "import sys\nsys.stdout.buffer.write({})\nsys.stderr.buffer.write({})\n"


def writing(size: int, then: float = 0) -> ExecutionRequest:
    """A program that writes so many bytes, goes on for `then` seconds, and writes a line."""
    wait = f"import time\ntime.sleep({then})\n" if then else ""
    return code(f"print('a' * {size}, end='', flush=True)\n{wait}print('end')")


async def read(pool: VMPoolManager, user: int, execution: Execution, stream: Stream = "stdout") -> bytes:
    stored = await pool.output(user, execution.vm_id, execution.id, stream)
    try:
        assert stored.complete
        return b"".join([piece async for piece in stored.read(0, stored.size)])
    finally:
        stored.close()


def files(world: World) -> list[str]:
    return sorted(os.listdir(world.state_dir / "spool"))  # noqa: PTH208


@asynccontextmanager
async def one_vm(world: World, settings: PoolSettings = SMALL) -> AsyncIterator[tuple[VMPoolManager, int]]:
    async with world.server(settings) as pool:
        yield pool, (await pool.create_vm(world.ada, vm_request())).id


@pytest.mark.parametrize(
    ("stdout", "stderr", "kept"),
    [
        ("b'text'", "b''", []),
        ("b'x' * 1000", "b'\\xc3\\xbc'", []),
        ("b'x' * 1001", "b'ok'", ["stdout"]),
        ("b'x' * 3_000_000", "b'y' * 1_000_001", ["stderr", "stdout"]),
        ("b'a\\0b'", "b'\\xff\\xfe'", ["stderr", "stdout"]),
        ("b'cut \\xe2\\x82'", "b'\\xef\\xbf\\xbd'", ["stderr", "stdout"]),
    ],
)
async def test_every_byte_is_there(world: World, stdout: str, stderr: str, kept: list[str]) -> None:
    async with one_vm(world) as (pool, vm_id):
        done = await pool.execute(world.ada, vm_id, code(BYTES.format(stdout, stderr)))
        wanted = [eval(stdout), eval(stderr)]
        assert [await read(pool, world.ada, done, name) for name in ("stdout", "stderr")] == wanted
        assert done.outcome is not None and done.outcome.dropped == 0
        assert [done.outcome.output_bytes, done.outcome.error_bytes] == [len(data) for data in wanted]
        assert files(world) == [f"{done.id}.{name}" for name in kept]
        row = (await pool.get_execution(world.ada, vm_id, done.id)).outcome
        assert row is not None
        assert (row.output_bytes, row.output_file) == (done.outcome.output_bytes, done.outcome.output_file)


async def test_it_is_there_after_a_restart_and_after_its_vm(world: World) -> None:
    async with one_vm(world) as (pool, vm_id):
        done = await pool.execute(world.ada, vm_id, code("print('a' * 2000)"))
    async with world.server(SMALL) as pool:
        assert await read(pool, world.ada, done) == b"a" * 2000 + b"\n"
        await pool.delete_vm(world.ada, vm_id)
        assert await read(pool, world.ada, done) == b"a" * 2000 + b"\n"


async def test_what_still_runs_is_read_as_far_as_it_has_come(world: World) -> None:
    async with one_vm(world) as (pool, vm_id):
        for size in (4, 3 * REPLAYED_BYTES):
            async with pending(pool.execute(world.ada, vm_id, writing(size, then=60))):
                await eventually(partial(_begun, world, pool, vm_id, size))
                await pool.restart_vm(world.ada, vm_id)


async def _begun(world: World, pool: VMPoolManager, vm_id: int, size: int) -> bool:
    running = await pool.list_executions(world.ada, vm_id, state=ExecutionState.RUNNING)
    if not running:  # it has no row yet
        return False
    stored = await pool.output(world.ada, vm_id, running[0].id, "stdout")
    try:
        assert not stored.complete
        assert len(b"".join([piece async for piece in stored.read(0, stored.size)])) == stored.size
        return stored.size == size
    finally:
        stored.close()


async def test_a_killed_server_loses_none_of_it(world: World) -> None:
    size = 5 * REPLAYED_BYTES
    async with one_vm(world) as (pool, vm_id):
        with anyio.move_on_after(0.5):
            await pool.execute(world.ada, vm_id, writing(size, then=1))
    async with world.server(SMALL) as pool:
        await eventually(world.nothing_runs)
        (done,) = await pool.list_executions(world.ada, vm_id)
        assert await read(pool, world.ada, done) == b"a" * size + b"end\n"
        assert done.outcome is not None and done.outcome.output_bytes == size + 4


async def test_of_one_whose_machine_is_gone_what_was_written_stays(world: World) -> None:
    size = 5 * REPLAYED_BYTES
    async with one_vm(world) as (pool, vm_id):
        with anyio.move_on_after(0.5):
            await pool.execute(world.ada, vm_id, writing(size, then=60))
    async with world.server(SMALL, forgets=True) as pool:
        await eventually(world.nothing_runs)
        (lost,) = await pool.list_executions(world.ada, vm_id)
        assert lost.outcome is not None and lost.failure
        kept = await read(pool, world.ada, lost)
        assert kept == b"a" * len(kept) and size - 2 * REPLAYED_BYTES <= len(kept) <= size


async def test_files_no_row_names_are_swept(world: World) -> None:
    async with one_vm(world) as (pool, vm_id):
        done = await pool.execute(world.ada, vm_id, code("print('a' * 2000)"))
    for name in (f"{done.id}.stderr", f"{done.id}.stdout-at", f"{done.id + 1}.stdout", "strange"):
        (world.state_dir / "spool" / name).write_text("x")
    async with world.server(SMALL) as pool:
        await eventually(lambda: _files_are(world, [f"{done.id}.stdout"]))
        await read(pool, world.ada, done)


async def _files_are(world: World, wanted: list[str]) -> bool:
    return files(world) == wanted


async def test_the_oldest_of_a_vm_makes_room_for_the_newest(world: World) -> None:
    async with one_vm(world, replace(SMALL, keep_output_of_vm=5000)) as (pool, vm_id):
        done = [await pool.execute(world.ada, vm_id, code("print('a' * 1999)")) for _ in range(3)]
        with pytest.raises(OutputNotKept):
            await read(pool, world.ada, done[0])
        assert [len(await read(pool, world.ada, one)) for one in done[1:]] == [2000, 2000]
        first = (await pool.get_execution(world.ada, vm_id, done[0].id)).outcome
        assert first is not None and first.dropped == 2000
        assert files(world) == [f"{one.id}.stdout" for one in done[1:]]


async def test_past_the_bound_of_all_the_writer_s_own_go_and_nobody_else_s(world: World) -> None:
    write = code("print('a' * 1999)")
    async with one_vm(world, replace(SMALL, keep_output=9000)) as (pool, vm_id):
        second = await pool.create_vm(world.ada, vm_request("second"))
        other = await pool.create_vm(world.bob, vm_request())
        bobs = await pool.execute(world.bob, other.id, write)
        first, *_ = [await pool.execute(world.ada, one, write) for one in (second.id, vm_id, vm_id)]
        oldest_here = (await pool.list_executions(world.ada, vm_id))[-1]
        await pool.execute(world.ada, vm_id, write)  # in the writer's own VM there is one to take
        with pytest.raises(OutputNotKept):
            await read(pool, world.ada, oldest_here)
        assert len(await read(pool, world.ada, first)) == 2000
        third = await pool.create_vm(world.ada, vm_request("third"))
        await pool.execute(world.ada, third.id, write)  # in the user's other VMs
        with pytest.raises(OutputNotKept):
            await read(pool, world.ada, first)
        assert len(await read(pool, world.bob, bobs)) == 2000  # the oldest of all


async def test_what_only_another_user_could_make_room_for_is_dropped_and_said(world: World) -> None:
    async with one_vm(world, replace(SMALL, keep_output=5000)) as (pool, vm_id):
        other = await pool.create_vm(world.bob, vm_request())
        kept = [await pool.execute(world.ada, vm_id, code("print('a' * 1999)")) for _ in range(2)]
        late = await pool.execute(world.bob, other.id, code("print('b' * 1999)"))
        assert late.outcome is not None and late.outcome.dropped == 2000
        assert late.outcome.output.startswith("bbb")
        with pytest.raises(OutputNotKept):
            await read(pool, world.bob, late)
        assert [len(await read(pool, world.ada, one)) for one in kept] == [2000, 2000]


async def test_who_has_had_its_share_leaves_room_to_others(world: World) -> None:
    write = code("print('a' * 1999)")
    settings = replace(SMALL, keep_output=8000, keep_output_share=0.5)
    async with one_vm(world, settings) as (pool, vm_id):
        second = await pool.create_vm(world.ada, vm_request("second"))
        other = await pool.create_vm(world.bob, vm_request())
        adas = [await pool.execute(world.ada, one, write) for one in (vm_id, second.id, vm_id, second.id)]
        bobs = [await pool.execute(world.bob, other.id, write) for _ in range(2)]
        for gone in adas[:2]:
            with pytest.raises(OutputNotKept):
                await read(pool, world.ada, gone)
        kept = [(world.ada, one) for one in adas[2:]] + [(world.bob, one) for one in bobs]
        assert [len(await read(pool, user, one)) for user, one in kept] == [2000] * 4
    async with world.server(settings) as pool:  # counted anew from the rows
        await pool.execute(world.ada, vm_id, write)
        with pytest.raises(OutputNotKept):
            await read(pool, world.ada, adas[2])
        assert len(await read(pool, world.bob, bobs[0])) == 2000


async def test_what_alone_is_too_much_is_kept_from_its_beginning(world: World) -> None:
    limit = 10 * REPLAYED_BYTES
    async with one_vm(world, replace(SMALL, keep_output_of_vm=limit)) as (pool, vm_id):
        done = await pool.execute(world.ada, vm_id, writing(limit * 2))
        assert done.outcome is not None and done.outcome.output.endswith("end\n")
        kept = await read(pool, world.ada, done)
        assert kept == b"a" * len(kept) and limit // 2 < len(kept) <= limit
        assert done.outcome.output_bytes - len(kept) == done.outcome.dropped == limit * 2 + 4 - len(kept)


async def test_history_and_its_files_go_together(world: World) -> None:
    settings = replace(SMALL, keep_age=timedelta(hours=1).total_seconds())
    async with one_vm(world, settings) as (pool, vm_id):
        await pool.execute(world.ada, vm_id, code("print('a' * 2000)"))
        assert files(world)
    async with world.server(replace(settings, keep_age=1e-9)) as pool:
        await eventually(lambda: _files_are(world, []))
        assert await pool.list_executions(world.ada, vm_id) == []
