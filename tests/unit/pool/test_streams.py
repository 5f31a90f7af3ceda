"""Reading what executions write: from any position, while they run and afterwards, fast and slow."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import anyio
import pytest

from vmpool.agent.base import Output
from vmpool.domain import Execution, ExecutionState
from vmpool.errors import AgentUnreachable, ExecutionNotFound, VMNotFound
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.watch import HELD_BYTES, LARGEST_PIECE, Piece, Position, Watch

from .world import QUICK, World, code, command, eventually, vm_request

pytestmark = pytest.mark.anyio
BACKGROUND = {"background": True, "timeout": math.inf}


@dataclass
class Read:
    """What a reader got.  order: the streams, as they took turns."""

    stdout: bytes = b""
    stderr: bytes = b""
    skipped: int = 0
    order: list[str] = field(default_factory=list)
    end: Execution | None = None

    def take(self, value: Piece | Execution) -> None:
        if isinstance(value, Execution):
            self.end = value
            return
        assert len(value.data) <= LARGEST_PIECE + (32 << 10)
        if value.stream == "stdout":
            self.stdout += value.data
        else:
            self.stderr += value.data
        self.skipped += value.skipped
        if self.order[-1:] != [value.stream]:
            self.order.append(value.stream)


async def read(
    pool: VMPoolManager, user: int, execution: Execution, at: Position | None = None, tail: int | None = None
) -> Read:
    """All of it, to the end."""
    found = Read()
    following = await pool.streams.follow(user, execution.vm_id, execution.id, at or Position(), tail)
    with anyio.fail_after(20):
        async with aclosing(following) as values:
            async for value in values:
                found.take(value)
    return found


async def until(values: AsyncGenerator[Piece | Execution, None], text: bytes) -> Read:
    """Until standard output has come so far."""
    found = Read()
    with anyio.fail_after(10):
        async for value in values:
            found.take(value)
            if text in found.stdout:
                return found
    raise AssertionError(found)


async def test_it_comes_while_it_is_written_and_ends_with_the_row(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(
        world.ada, vm.id, command("echo one; echo bad >&2; cat; echo two; exit 3", stdin_open=True)
    )
    following = await pool.streams.follow(world.ada, vm.id, begun.id, Position())
    async with aclosing(following) as values:
        first = await until(values, b"one\n")
        assert first.end is None
        await pool.controls.write_stdin(world.ada, vm.id, begun.id, b"x\n", close=True)
        rest = Read()
        async for value in values:
            rest.take(value)
    assert first.stdout + rest.stdout == b"one\nx\ntwo\n"
    assert first.stderr + rest.stderr == b"bad\n"
    assert rest.end is not None and rest.end.outcome is not None
    assert (rest.end.state, rest.end.outcome.exit_code) == (ExecutionState.FINISHED, 3)
    assert await pool.get_execution(world.ada, vm.id, begun.id) == rest.end


async def test_every_position_gives_the_rest(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.execute(world.ada, vm.id, command("echo 0123456789; echo abc >&2"))
    for stdout in (0, 1, 10, 11, 12, 1000):
        for stderr in (0, 4, 5):
            found = await read(pool, world.ada, begun, Position(stdout, stderr))
            assert (found.stdout, found.stderr) == (b"0123456789\n"[stdout:], b"abc\n"[stderr:])
            assert (found.skipped, found.end) == (0, begun)
    assert (await read(pool, world.ada, begun, tail=3)).stdout == b"89\n"
    assert (await read(pool, world.ada, begun, tail=0)).stdout == b""
    with pytest.raises(ExecutionNotFound):
        await pool.streams.follow(world.ada, vm.id, begun.id + 1, Position())
    with pytest.raises(VMNotFound):
        await pool.streams.follow(world.bob, vm.id, begun.id, Position())


async def test_what_is_no_text_and_what_is_long(world: World, pool: VMPoolManager) -> None:
    """From the row's file, once it has ended."""
    vm = await pool.create_vm(world.ada, vm_request())
    text = "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 12000)"
    begun = await pool.execute(world.ada, vm.id, code(text))
    whole = bytes(range(256)) * 12000
    assert (await read(pool, world.ada, begun)).stdout == whole
    assert (await read(pool, world.ada, begun, Position(1_000_001))).stdout == whole[1_000_001:]


async def test_a_reader_that_comes_late_or_is_slow_misses_nothing(world: World, pool: VMPoolManager) -> None:
    """More than memory holds: what others had from memory it has from the disk."""
    vm = await pool.create_vm(world.ada, vm_request())
    text = (
        "import sys\n"
        "for n in range(300):\n"
        "    sys.stdout.write('%07d\\n' % n * 1024)\n"
        "    sys.stdout.flush()\n"
        "sys.stderr.write('e' * 100000)\n"
        "sys.stdin.read()\n"
    )
    begun = await pool.start_execution(world.ada, vm.id, code(text, stdin_open=True, **BACKGROUND))
    whole = b"".join(b"%07d\n" % number * 1024 for number in range(300))
    slow = await pool.streams.follow(world.ada, vm.id, begun.id, Position())
    found: list[Read] = []

    async def reader(at: Position) -> None:
        found.append(await read(pool, world.ada, begun, at))

    async with aclosing(slow) as values, anyio.create_task_group() as tasks:
        first = Read()
        first.take(await anext(values))
        for _ in range(3):
            tasks.start_soon(reader, Position())
        tasks.start_soon(reader, Position(2_000_000, 50_000))

        async def all_written() -> bool:
            run = pool._executions.find(vm.id, begun.id)
            return run is not None and run.stdout.total == len(whole) and run.stderr.total == 100_000

        await eventually(all_written)
        run = pool._executions.find(vm.id, begun.id)
        assert run is not None and run.watch is not None
        assert sum(len(piece.data) for piece in run.watch._pieces) <= HELD_BYTES
        await pool.controls.write_stdin(world.ada, vm.id, begun.id, b"", close=True)
        async for value in values:
            first.take(value)
    assert (first.stdout == whole, first.stderr, first.skipped) == (True, b"e" * 100_000, 0)
    for one in found:
        assert (one.stdout in (whole, whole[2_000_000:]), one.skipped) == (True, 0)
        assert len(one.stderr) == (100_000 if len(one.stdout) == len(whole) else 50_000)
    assert len(found) == 4
    assert run is not None and run.watch is None  # nothing is kept for readers that have gone


async def test_where_there_is_no_room_a_slow_reader_is_told(world: World) -> None:
    async with world.server(replace(QUICK, keep_output_of_vm=500_000)) as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        text = "import sys\nsys.stdout.write('x' * 3000000)\nsys.stdout.flush()\nsys.stdin.read()\n"
        begun = await pool.start_execution(world.ada, vm.id, code(text, stdin_open=True, **BACKGROUND))

        async def all_written() -> bool:
            run = pool._executions.find(vm.id, begun.id)
            return run is not None and run.stdout.total == 3_000_000

        await eventually(all_written)
        following = await pool.streams.follow(world.ada, vm.id, begun.id, Position())
        found = Read()
        async with aclosing(following) as values:
            with anyio.fail_after(10):
                async for value in values:
                    found.take(value)
                    if len(found.stdout) + found.skipped == 3_000_000:
                        break
            assert 0 < len(found.stdout) <= 500_000
            await pool.controls.write_stdin(world.ada, vm.id, begun.id, b"", close=True)
            async for value in values:
                found.take(value)
        assert found.end is not None and found.end.outcome is not None
        assert found.skipped == found.end.outcome.dropped == 3_000_000 - len(found.stdout)
        assert (await read(pool, world.ada, begun)).skipped == found.skipped  # and who comes afterwards


async def test_it_goes_on_after_a_servers_end(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        begun = await pool.start_execution(
            world.ada, vm.id, command("echo one; cat; echo two", stdin_open=True, **BACKGROUND)
        )
        following = await pool.streams.follow(world.ada, vm.id, begun.id, Position())
        async with aclosing(following) as values:
            first = await until(values, b"one\n")
    async with world.server() as pool:

        async def followed() -> bool:
            return bool((await pool.status(world.ada, vm.id)).executions)

        await eventually(followed)
        async with anyio.create_task_group() as tasks:
            found: list[Read] = []

            async def rest() -> None:
                found.append(await read(pool, world.ada, begun, Position(len(first.stdout))))

            tasks.start_soon(rest)
            await pool.controls.write_stdin(world.ada, vm.id, begun.id, b"x\n", close=True)
        assert first.stdout + found[0].stdout == b"one\nx\ntwo\n"


async def test_a_server_that_ends_ends_its_readers(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        begun = await pool.start_execution(world.ada, vm.id, command("echo one; sleep 60", **BACKGROUND))
        following = await pool.streams.follow(world.ada, vm.id, begun.id, Position())
        await until(following, b"one")
    with pytest.raises(AgentUnreachable, match="shutting down"), anyio.fail_after(5):
        await anext(following)


async def test_an_end_by_a_verb_is_its_last_event(world: World, pool: VMPoolManager) -> None:
    vm = await pool.create_vm(world.ada, vm_request())
    begun = await pool.start_execution(world.ada, vm.id, command("echo one; sleep 60", **BACKGROUND))
    following = await pool.streams.follow(world.ada, vm.id, begun.id, Position())
    async with aclosing(following) as values:
        await until(values, b"one")
        await pool.stop_vm(world.ada, vm.id)
        last = await anext(values)
    assert isinstance(last, Execution)
    assert (last.state, last.failure) == (ExecutionState.LOST, "ended because the VM was stopped")


def test_pieces_are_in_order_joined_and_bounded() -> None:
    watch = Watch(Position(5, 0))
    watch.add(Output("stdout", 5, b"ab"))
    watch.add(Output("stdout", 7, b"cd"))
    watch.add(Output("stderr", 0, b"x"))
    watch.add(Output("stdout", 9, b"e"))
    at = Position()
    assert watch.older(at) == "stdout"
    at.stdout = 6
    assert watch.older(at) is None
    number, seen = 0, []
    while (found := watch.after(number, at)) is not None:
        number, stream, data = found
        at.reach(stream, at.of(stream) + len(data))
        seen.append((stream, data))
    assert seen == [("stdout", b"bcd"), ("stderr", b"x"), ("stdout", b"e")]
    assert watch.after(number, Position(5, 0)) is None
    for offset in range(10, 20_010):
        watch.add(Output("stdout", offset, b"y"))
    assert len(watch._pieces) < 1100  # small ones are not free
    assert watch.begins.stdout == 20_010 - len(watch._pieces)
    assert watch.begins.stderr == 1
