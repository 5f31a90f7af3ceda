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
from vmpool.pool.room import Room
from vmpool.pool.spool import REPLAYED_BYTES, Kept, Spool
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


async def room(count: int) -> bool:
    return True


async def no_room(count: int) -> bool:
    return False


@pytest.mark.anyio
class TestSpool:
    async def test_a_small_output_never_touches_the_disk(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path / "spool")
        await spool.prepare()
        one = spool.open(7, room)
        assert not one.add("stdout", b"x" * (REPLAYED_BYTES - 1))
        assert await one.discard() == 0
        assert names(tmp_path / "spool") == []

    async def test_what_was_flushed_is_recovered_and_goes_on(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        one = spool.open(7, room)
        assert one.add("stdout", b"a" * REPLAYED_BYTES)
        await one.flush()
        one.close()
        again = spool.open(7, room)
        kept = await again.recover(1 << 20)
        assert kept["stdout"] == Kept(b"a" * REPLAYED_BYTES, offset=REPLAYED_BYTES)
        assert kept["stderr"] == Kept()
        assert again.add("stdout", b"b")
        await again.flush()
        third = await spool.open(7, room).recover(1 << 20)
        assert third["stdout"].head.endswith(b"ab")
        assert await again.discard() == REPLAYED_BYTES + 1
        assert names(tmp_path) == []

    async def test_of_a_long_one_the_beginning_and_the_end_are_read(self, tmp_path: Path) -> None:
        spool = Spool(tmp_path)
        one = spool.open(7, room)
        one.add("stdout", b"a" * REPLAYED_BYTES + b"z")
        await one.flush()
        one.close()
        kept = (await spool.open(7, room).recover(5))["stdout"]
        assert kept == Kept(b"aaa", REPLAYED_BYTES - 4, b"az", REPLAYED_BYTES + 1)
        assert kept.missing == 0

    @pytest.mark.parametrize("why", ["no room is left", "the disk is nearly full"])
    async def test_where_there_is_no_room_only_the_position_is_kept(self, tmp_path: Path, why: str) -> None:
        spool = Spool(tmp_path, 1 << 62 if why == "the disk is nearly full" else 0)
        one = spool.open(7, no_room if why == "no room is left" else room)
        for _ in range(3):
            if one.add("stderr", b"x" * REPLAYED_BYTES):
                await one.flush()
        assert await one.settle(["stderr"]) == {"stderr": 0}
        one.close()
        kept = (await spool.open(7, room).recover(1 << 20))["stderr"]
        assert (kept.head, kept.offset, kept.missing) == (b"", 3 * REPLAYED_BYTES, 3 * REPLAYED_BYTES)

    async def test_what_stays_is_a_beginning_without_a_gap(self, tmp_path: Path) -> None:
        answers = iter((True, False))

        async def once(count: int) -> bool:
            return next(answers, True)

        one = Spool(tmp_path).open(7, once)
        for byte in (b"a", b"b", b"c"):
            one.add("stdout", byte * REPLAYED_BYTES)
            await one.flush()
        assert await one.settle(["stdout"]) == {"stdout": REPLAYED_BYTES}
        assert await one.discard(["stdout"]) == 0
        assert names(tmp_path) == ["7.stdout"]
        assert (tmp_path / "7.stdout").read_bytes() == b"a" * REPLAYED_BYTES


def test_room_is_bounded_for_one_vm_and_for_all() -> None:
    room = Room(100, share=1)
    room.begin([(1, 7, 40)])
    assert room.take(1, 7, 50, 10)
    assert not room.fits_vm(1, 50, 1) and room.fits_all(7, 50)
    assert not room.take(1, 7, 50, 1)
    assert room.take(2, 8, 1000, 50)
    assert not room.fits_all(8, 1) and room.fits_vm(2, 1000, 1)
    room.give(1, 50)
    assert room.used == 50
    assert room.take(1, 7, 50, 50)


def test_room_is_bounded_for_the_vms_of_one_user() -> None:
    room = Room(100, share=0.5)
    room.begin([(1, 7, 30), (2, 7, 10)])
    assert not room.take(2, 7, 1000, 11) and not room.fits_all(7, 11)
    assert room.take(2, 7, 1000, 10)
    assert room.take(3, 8, 1000, 50)
    room.give(1, 30)  # whatever became of the VM
    assert room.take(4, 7, 1000, 30) and not room.take(4, 7, 1000, 1)
    room.give(2, 20)
    room.give(4, 30)
    room.give(3, 50)
    assert room.used == 0 and room.take(1, 7, 1000, 50)


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
