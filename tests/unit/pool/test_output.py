"""What is kept of output: bounds, the spool, and those who follow."""

from __future__ import annotations

from contextlib import aclosing
from datetime import datetime
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmpool.pool.feed import FOLLOWER_BUFFER, Feed, LogEntry
from vmpool.pool.output import Capture
from vmpool.pool.spool import REPLAYED_BYTES, Spool
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import World, command, pending, vm_request

NOW = datetime(2026, 1, 2)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class TestCapture:
    @given(pieces=st.lists(st.binary(max_size=40)), limit=st.integers(min_value=2, max_value=100))
    def test_up_to_the_limit_everything_and_past_it_both_ends(self, pieces: list[bytes], limit: int) -> None:
        capture = Capture(limit)
        for piece in pieces:
            capture.add(piece)
        whole = b"".join(pieces)
        assert capture.total == len(whole)
        assert capture.truncated is (len(whole) > limit)
        if len(whole) <= limit:
            assert capture.text() == whole.decode("utf-8", "replace")
        else:
            assert f"\n[{len(whole) - limit} bytes left out]\n" in capture.text()

    @given(total=st.integers(min_value=0, max_value=1_000_000))
    def test_memory_is_bounded(self, total: int) -> None:
        capture = Capture(1000)
        for _ in range(10):
            capture.add(b"x" * (total // 10))
        held = len(capture._head) + len(capture._tail)
        assert held <= max(total, 1000) and held < 1000 + 65_536 + 100_000

    def test_a_character_is_never_cut_apart(self) -> None:
        capture = Capture(9)
        capture.add("é".encode() * 10)
        head, _, tail = capture.text().split("\n")
        assert (head, tail) == ("éé", "éé")

    def test_bytes_nobody_has_are_left_out_with_their_number(self) -> None:
        capture = Capture(100)
        capture.add(b"begin")
        capture.skip(1000)
        capture.add(b"end")
        assert capture.text() == "begin\n[1000 bytes left out]\nend"
        assert capture.total == 1008


@pytest.mark.anyio
class TestSpool:
    async def test_a_small_output_never_touches_the_disk(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path / "spool", 1 << 20)
        await spool.prepare()
        one = spool.open(7)
        assert not one.add("stdout", b"x" * (REPLAYED_BYTES - 1))
        assert names(tmp_path / "spool") == []

    async def test_what_was_flushed_is_recovered_and_goes_on(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path, 1 << 20)
        one = spool.open(7)
        assert one.add("stdout", b"a" * REPLAYED_BYTES)
        await one.flush()
        again = spool.open(7)
        kept = await again.recover()
        assert (kept["stdout"].data, kept["stdout"].offset) == (b"a" * REPLAYED_BYTES, REPLAYED_BYTES)
        assert (kept["stderr"].data, kept["stderr"].offset) == (b"", 0)
        assert again.add("stdout", b"b")
        await again.flush()
        assert (await spool.open(7).recover())["stdout"].data.endswith(b"ab")
        await again.discard()
        assert names(tmp_path) == []

    async def test_past_the_limit_only_the_position_is_kept(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path, 1000)
        one = spool.open(7)
        for _ in range(3):
            if one.add("stderr", b"x" * REPLAYED_BYTES):
                await one.flush()
        kept = (await spool.open(7).recover())["stderr"]
        assert (len(kept.data), kept.offset) == (REPLAYED_BYTES, 3 * REPLAYED_BYTES)

    async def test_files_of_executions_nobody_knows_are_swept(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path, 1 << 20)
        for number in (7, 8):
            one = spool.open(number)
            one.add("stdout", b"x")
            await one.flush()
        await spool.sweep({8})
        assert names(tmp_path) == ["8.stdout"]


@pytest.mark.anyio
class TestFeed:
    async def test_a_slow_follower_is_told_what_passed_it_by(self) -> None:
        feed = Feed()
        with feed.following(1) as follower:
            feed.publish(1, 5, "stdout", "x" * FOLLOWER_BUFFER, NOW)
            feed.publish(1, 5, "stdout", "lost", NOW)
            feed.publish(2, 6, "stdout", "of another VM", NOW)
            first = await follower.next()
            assert first is not None and len(first.data) == FOLLOWER_BUFFER
            feed.publish(1, 5, "stdout", "y", NOW)
            assert await follower.next() == LogEntry(5, "stdout", "y", NOW, skipped=4)
            feed.close(1)
            assert await follower.next() is None
        assert not feed.followed(1)


@pytest.mark.anyio
class TestLogs:
    async def test_the_tail_is_the_last_executions_oldest_first(
        self, world: World, pool: VMPoolManager
    ) -> None:
        vm = await pool.create_vm(world.ada, vm_request())
        for number in range(4):
            await pool.execute(world.ada, vm.id, command(f"echo {number}; echo e{number} >&2"))
        entries = await pool.logs(world.ada, vm.id, 2)
        assert [(entry.stream, entry.data) for entry in entries] == [
            ("stdout", "2\n"),
            ("stderr", "e2\n"),
            ("stdout", "3\n"),
            ("stderr", "e3\n"),
        ]
        assert await pool.logs(world.ada, vm.id, 0) == []

    async def test_what_still_runs_shows_what_it_wrote_so_far(
        self, world: World, pool: VMPoolManager
    ) -> None:
        vm = await pool.create_vm(world.ada, vm_request())
        async with pending(pool.execute(world.ada, vm.id, command("echo one; sleep 0.2; echo two"))):
            await world.until_output(pool, vm.id, "one")
            assert [entry.data for entry in await pool.logs(world.ada, vm.id)] == ["one\n"]

    async def test_following_misses_nothing_and_repeats_nothing(
        self, world: World, pool: VMPoolManager
    ) -> None:
        """Executions before, during and after the moment a follower comes, eight followers at once."""
        vm = await pool.create_vm(world.ada, vm_request())
        written: list[str] = [""] * 8

        async def follow(number: int) -> None:
            async with aclosing(await pool.follow(world.ada, vm.id, 1000)) as entries:
                async for entry in entries:
                    written[number] += entry.data

        async def execute(number: int) -> None:
            await anyio.sleep(number * 0.01)
            await pool.execute(world.ada, vm.id, command(f"echo begin{number}; sleep 0.05; echo end{number}"))

        async with anyio.create_task_group() as tasks:
            async with anyio.create_task_group() as runs:
                for number in range(24):
                    runs.start_soon(execute, number)
                for number in range(8):
                    await anyio.sleep(0.03)
                    tasks.start_soon(follow, number)
            await pool.delete_vm(world.ada, vm.id)
        expected = sorted(f"{word}{number}" for number in range(24) for word in ("begin", "end"))
        for text in written:
            assert sorted(text.split()) == expected
