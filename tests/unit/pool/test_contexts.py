"""Contexts on the fake backend: who has them, how they end, and what the next server finds."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from vmpool.backends.base import MachineKey
from vmpool.domain import VM, VMState
from vmpool.domain.code_context import CellOutput, CellResult, CellState, ContextState, Raised, Shown, Text
from vmpool.domain.secret import Mask
from vmpool.errors import (
    ContextDead,
    ContextNotFound,
    InvalidRequest,
    TooManyCells,
    TooManyContexts,
    VMNotFound,
    VMNotRunning,
)
from vmpool.pool.contexts.contexts import MOST_CONTEXTS
from vmpool.pool.contexts.hiding import Hiding
from vmpool.pool.contexts.live import MOST_WAITING
from vmpool.pool.requests import VMRequest
from vmpool.pool.vm_pool_manager import VMPoolManager

from .world import World, eventually, vm_request

pytestmark = pytest.mark.anyio


async def run(pool: VMPoolManager, vm: VM, context: int, code: str, timeout: float = 5.0) -> CellResult:
    cell = await pool.contexts.run(vm, context, code, timeout)
    await cell.done.wait()
    return cell.result


async def make(pool: VMPoolManager, vm: VM) -> int:
    return (await pool.contexts.create(vm, "python", None, {})).context.id


def value(text: str) -> Shown:
    return Shown({"text/plain": text}, True)


async def test_it_remembers(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        first, second = await make(pool, vm), await make(pool, vm)
        assert (await run(pool, vm, first, "x = 41")).outputs == ()
        result = await run(pool, vm, first, "print('hi')\nx + 1")
        assert (result.number, result.state) == (2, CellState.OK)
        assert result.outputs == (Text("stdout", "hi\n"), value("42"))
        unknown = await run(pool, vm, second, "x")
        assert unknown.state is CellState.ERROR
        assert isinstance(unknown.outputs[-1], Raised) and unknown.outputs[-1].name == "NameError"
        assert (await run(pool, vm, first, "x")).outputs == (value("41"),)
        listed = await pool.contexts.list(vm)
        assert [(one.context.id, one.state, one.cells) for one in listed] == [
            (second, ContextState.IDLE, 1),
            (first, ContextState.IDLE, 3),
        ]


async def test_cells_wait_for_their_turn(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        busy = await pool.contexts.run(vm, context, "while True:\n    pass", 60)
        cells = [await pool.contexts.run(vm, context, f"print({n})", 60) for n in range(MOST_WAITING - 1)]
        impatient = await pool.contexts.run(vm, context, "print('never')", 0.05)
        await eventually_busy(pool, vm, context)
        with pytest.raises(TooManyCells):
            for _ in range(3):
                await pool.contexts.run(vm, context, "1", 60)
        await impatient.done.wait()
        assert (impatient.state, impatient.number) == (CellState.TIMED_OUT, 0)
        await pool.contexts.interrupt(vm, context)
        await busy.done.wait()
        assert busy.state is CellState.INTERRUPTED
        for number, cell in enumerate(cells):
            await cell.done.wait()
            assert cell.result.outputs == (Text("stdout", f"{number}\n"),)
        assert [cell.number for cell in cells] == list(range(2, MOST_WAITING + 1))


async def eventually_busy(pool: VMPoolManager, vm: VM, context: int) -> None:
    async def busy() -> bool:
        return (await pool.contexts.get(vm, context)).state is ContextState.BUSY

    await eventually(busy)


async def test_time_is_up(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        await run(pool, vm, context, "x = 1")
        result = await run(pool, vm, context, "while True:\n    pass", 0.1)
        assert result.state is CellState.TIMED_OUT
        assert (await run(pool, vm, context, "x")).outputs == (value("1"),)
        for wrong in (0.0, -1.0, float("inf"), float("nan"), 601.0):
            with pytest.raises(InvalidRequest):
                await pool.contexts.run(vm, context, "1", wrong)


async def test_to_interrupt_what_is_idle_changes_nothing(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        assert (await pool.contexts.interrupt(vm, context)).state is ContextState.IDLE
        assert (await run(pool, vm, context, "1")).state is CellState.OK


async def test_a_dead_one_says_so_and_begins_again(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        await run(pool, vm, context, "x = 1")
        result = await run(pool, vm, context, "import sys\nprint('last words')\nsys.exit(3)")
        assert result.state is CellState.DIED and result.outputs == (Text("stdout", "last words\n"),)
        with pytest.raises(ContextDead, match="exit code 3: last words"):
            await run(pool, vm, context, "x")
        dead = await pool.contexts.get(vm, context)
        assert dead.state is ContextState.DEAD and "exit code 3" in (dead.context.failure or "")
        again = await pool.contexts.restart(vm, context)
        assert (again.state, again.cells, again.context.failure) == (ContextState.IDLE, 0, None)
        assert (await run(pool, vm, context, "x")).state is CellState.ERROR


async def test_cells_in_line_die_with_it(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        first = await pool.contexts.run(vm, context, "while True:\n    pass", 60)
        second = await pool.contexts.run(vm, context, "1", 60)
        await eventually_busy(pool, vm, context)
        await pool.contexts.restart(vm, context)
        for cell in (first, second):
            await cell.done.wait()
            assert cell.state is CellState.DIED
        assert (await run(pool, vm, context, "1")).number == 1


async def test_deleting(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        cell = await pool.contexts.run(vm, context, "while True:\n    pass", 60)
        await pool.contexts.delete(vm, context)
        await cell.done.wait()
        assert cell.state is CellState.DIED
        for verb in (pool.contexts.get, pool.contexts.delete, pool.contexts.interrupt, pool.contexts.restart):
            with pytest.raises(ContextNotFound):
                await verb(vm, context)
        with pytest.raises(ContextNotFound):
            await pool.contexts.run(vm, context, "1", 1)
        agent = world.host.machines[MachineKey(vm.id, vm.generation)].agent
        assert agent is not None
        await eventually(lambda: _nothing_runs(pool, vm))


async def _nothing_runs(pool: VMPoolManager, vm: VM) -> bool:
    return pool.contexts.running(vm.id) == 0


async def test_there_are_not_too_many(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        made = [await make(pool, vm) for _ in range(MOST_CONTEXTS)]
        with pytest.raises(TooManyContexts):
            await make(pool, vm)
        await pool.contexts.delete(vm, made[3])
        await make(pool, vm)


async def test_what_cannot_be_had(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        for language in ("rust", "cobol"):
            with pytest.raises(InvalidRequest):
                await pool.contexts.create(vm, language, None, {})
        with pytest.raises(InvalidRequest, match="cannot be started in this VM"):
            await pool.contexts.create(vm, "nodejs", None, {})  # the fake has no node
        with pytest.raises(InvalidRequest, match="cwd"):
            await pool.contexts.create(vm, "python", "/nowhere", {})
        assert await pool.contexts.list(vm) == []
        context = await make(pool, vm)
        with pytest.raises(InvalidRequest):
            await pool.contexts.run(vm, context, "a\0b", 1)
        other = await pool.create_vm(world.ada, VMRequest(name="other", language="python"))
        with pytest.raises(ContextNotFound):
            await pool.contexts.get(other, context)
        with pytest.raises(VMNotFound):
            await pool.awake(world.bob, vm.id)


async def test_they_end_with_their_vm(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        cell = await pool.contexts.run(vm, context, "while True:\n    pass", 60)
        await eventually_busy(pool, vm, context)
        stopped = await pool.stop_vm(world.ada, vm.id)
        await cell.done.wait()
        assert cell.state is CellState.DIED
        with pytest.raises(VMNotRunning):
            await run(pool, stopped, context, "1")
        with pytest.raises(VMNotRunning):
            await make(pool, stopped)
        assert [one.state for one in await pool.contexts.list(stopped)] == [ContextState.DEAD]
        started = await pool.start_vm(world.ada, vm.id)
        with pytest.raises(ContextDead, match="stopped"):
            await run(pool, started, context, "1")
        await pool.contexts.restart(started, context)
        assert (await run(pool, started, context, "1")).state is CellState.OK
        await pool.delete_vm(world.ada, vm.id)


async def test_the_next_server_goes_on_with_them(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        idle, busy, gone = await make(pool, vm), await make(pool, vm), await make(pool, vm)
        await run(pool, vm, idle, "x = 41")
        await pool.contexts.run(vm, busy, "print('lost')\nwhile True:\n    pass", 60)
        await eventually_busy(pool, vm, busy)
    async with world.server() as pool:
        vm = await pool.get_vm(world.ada, vm.id)
        result = await run(pool, vm, idle, "x + 1")
        assert (result.number, result.outputs) == (2, (value("42"),))
        assert (await pool.contexts.get(vm, busy)).state is ContextState.BUSY
        late = await run(pool, vm, busy, "1", 0.05)
        assert (late.state, late.number) == (CellState.TIMED_OUT, 0)
        await pool.contexts.restart(vm, busy)
        assert (await run(pool, vm, busy, "1")).outputs == (value("1"),)
        await pool.contexts.delete(vm, gone)  # never used by this server: its kernel is ended all the same
        agent = world.host.machines[MachineKey(vm.id, vm.generation)].agent
        assert agent is not None
        assert [one.context.id for one in await pool.contexts.list(vm)] == [busy, idle]
        await pool.restart_vm(world.ada, vm.id)
    async with world.server() as pool:
        vm = await pool.get_vm(world.ada, vm.id)
        with pytest.raises(ContextDead):
            await run(pool, vm, idle, "x")


async def test_a_cell_keeps_its_vm_from_being_idle(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request(idle_timeout=1))
        context = await make(pool, vm)
        cell = await pool.contexts.run(vm, context, "while True:\n    pass", 60)
        await anyio.sleep(1.3)
        assert (await pool.get_vm(world.ada, vm.id)).state is VMState.RUNNING
        await pool.contexts.interrupt(vm, context)
        await cell.done.wait()
        await world.until_state(pool, vm.id, VMState.STOPPED)


async def test_secrets_are_hidden(world: World) -> None:
    value_of_it = "correct-horse-battery"
    hidden = "*" * len(value_of_it)
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        await run(pool, vm, context, f"x = '{value_of_it}'")
        assert (await run(pool, vm, context, "x")).outputs == (value(repr(value_of_it)),)
        await pool.set_secret(world.ada, None, "TOKEN", value_of_it)
        result = await run(pool, vm, context, "print('a', x, 'correct')\nx")
        assert result.outputs == (Text("stdout", f"a {hidden} correct\n"), value(repr(hidden)))
        failed = await run(pool, vm, context, "raise ValueError(x)")
        error = failed.outputs[-1]
        assert isinstance(error, Raised) and error.value == hidden and value_of_it not in error.trace
        await run(pool, vm, context, "import sys\nprint(x)\nsys.exit(1)")
        dead = await pool.contexts.get(vm, context)
        assert hidden in (dead.context.failure or "") and value_of_it not in (dead.context.failure or "")


def test_a_secret_is_hidden_however_it_is_cut() -> None:
    hiding = Hiding(Mask(["correct-horse", "né-é-é-é"]))
    pieces: list[CellOutput] = [
        Text("stdout", part) for part in ("a cor", "rect-", "horse né-", "é-é", "-é cor")
    ]
    pieces += [
        Shown(
            {"text/html": "<b>correct-horse", "application/json": {"correct-horse": ["né-é-é-é", 1]}}, False
        )
    ]
    found = [output for piece in pieces for output in hiding.shown(piece)] + hiding.rest()
    written = "".join(output.text for output in found if isinstance(output, Text))
    assert written == "a ************* ************ cor"
    assert found[-1] == Shown(
        {"text/html": "<b>*************", "application/json": {"*************": ["************", 1]}}, False
    )


async def test_rows_of_a_vm_that_is_gone_go_with_it(world: World) -> None:
    async with world.server() as pool:
        vm = await pool.create_vm(world.ada, vm_request())
        context = await make(pool, vm)
        await pool.delete_vm(world.ada, vm.id)
        assert (await world.store.contexts.get(vm.id, context)).failure is not None
        assert await world.store.vms.purge(world.clock() + timedelta(days=1)) == 1
        with pytest.raises(ContextNotFound):
            await world.store.contexts.get(vm.id, context)
