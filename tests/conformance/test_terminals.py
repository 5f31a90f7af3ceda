"""Programs in terminals, through a whole pool on every backend."""

from __future__ import annotations

import re
import signal
from contextlib import aclosing

import anyio
import pytest

from tests.conformance.backends import Power, World
from tests.conformance.pool import USER, Serve, ended, eventually, make, start, written
from vmpool.domain import Execution, ExecutionRequest, ExecutionState, TerminalSize
from vmpool.errors import ExecutionEnded
from vmpool.pool.vm_pool_manager import VMPoolManager
from vmpool.pool.watch import Piece, Position

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
real = pytest.mark.requires(Power.REAL_PROGRAMS)
whole = pytest.mark.requires(Power.HOST_KERNEL)
"""Not on gVisor as Debian has it (2022): no signals of keys, no /dev/tty, and output lost at the end."""
SIZE = TerminalSize(80, 24)
PROMPT = "ready> "


async def begin(pool: VMPoolManager, command: str, **more: object) -> Execution:
    return await start(pool, command, stdin_open=True, terminal=SIZE, **more)


async def shell(pool: VMPoolManager, **more: object) -> Execution:
    """A shell that stands at its prompt."""
    env = {"PS1": PROMPT, "HISTFILE": "", "TERM": "dumb"}
    begun = await begin(pool, "exec bash --norc --noprofile -i", env=env, **more)
    await written(pool, begun, PROMPT)
    return begun


async def type_in(pool: VMPoolManager, to: Execution, text: str, *, close: bool = False) -> None:
    await pool.controls.write_stdin(USER, "box", to.id, text.encode(), close=close)


async def output_of(pool: VMPoolManager, execution: Execution) -> str:
    result = await ended(pool, execution)
    assert result.outcome is not None and result.outcome.error == ""
    return result.outcome.output


async def test_all_it_writes_is_one_stream_and_it_has_a_size(serve: Serve, world: World) -> None:
    gvisor = {Power.REAL_PROGRAMS, Power.HOST_KERNEL} & world.candidate.powers == {Power.REAL_PROGRAMS}
    async with serve() as pool:
        await make(pool)
        begun = await begin(pool, "echo out; echo err >&2; cat; exit 3")
        assert begun.terminal
        await written(pool, begun, "out\r\nerr\r\n")
        await pool.controls.resize(USER, "box", begun.id, TerminalSize(132, 43))
        await type_in(pool, begun, "typed\n")
        await written(pool, begun, "typed")
        if gvisor:
            await pool.controls.cancel(USER, "box", begun.id)
        else:
            await type_in(pool, begun, "", close=True)
        result = await ended(pool, begun)
        assert result.outcome is not None
        assert (result.terminal, result.outcome.error) == (True, "")
        assert gvisor or result.outcome.exit_code == 3
        with pytest.raises(ExecutionEnded):
            await pool.controls.resize(USER, "box", begun.id, SIZE)
        piped = await start(pool, "cat", stdin_open=True)
        with pytest.raises(ExecutionEnded, match="no terminal"):
            await pool.controls.resize(USER, "box", piped.id, SIZE)
        await pool.delete_vm(USER, "box")


@whole
async def test_what_a_program_finds(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        script = "tty; stty size; echo $TERM; for f in 0 1 2; do test -t $f && echo t; done; echo x >/dev/tty"
        lines = (await output_of(pool, await begin(pool, script))).split("\r\n")
        assert re.fullmatch(r"/dev/pts/\d+", lines[0]), lines
        assert lines[1:] == ["24 80", "xterm-256color", "t", "t", "t", "x", ""]
        code = "import sys, os; print(sys.stdin.isatty(), tuple(os.get_terminal_size()), input('name? '))"
        asked = await pool.start_execution(
            USER, "box", ExecutionRequest(code=code, background=True, stdin_open=True, terminal=SIZE)
        )
        await written(pool, asked, "name? ")
        await type_in(pool, asked, "Ada\n")
        assert (await output_of(pool, asked)).endswith("True (80, 24) Ada\r\n")
        await pool.delete_vm(USER, "box")


@whole
async def test_a_shell_with_job_control(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        begun = await shell(pool)
        await type_in(pool, begun, "sleep 1000\n")
        await written(pool, begun, "sleep 1000\r\n")
        await anyio.sleep(0.3)  # until it is in the foreground: nothing says so
        await type_in(pool, begun, "\x03echo status $?\n")
        await written(pool, begun, "status 130\r\n")
        await type_in(pool, begun, "trap 'echo now $(stty size)' WINCH\n")
        await written(pool, begun, "WINCH\r\n" + PROMPT)
        await pool.controls.resize(USER, "box", begun.id, TerminalSize(100, 50))
        await type_in(pool, begun, "true\n")
        await written(pool, begun, "now 50 100\r\n")
        await type_in(pool, begun, "sleep 1001 & jobs\n")
        await written(pool, begun, "Running")
        await type_in(pool, begun, "exit 7\n")
        result = await ended(pool, begun)
        assert result.outcome is not None and result.outcome.exit_code == 7
        await pool.delete_vm(USER, "box")


@real
async def test_cancelling_hangs_up(serve: Serve) -> None:
    """A shell at its prompt is deaf to TERM, not to the end of its terminal."""
    async with serve() as pool:
        await make(pool)
        begun = await shell(pool)
        result = await pool.controls.cancel(USER, "box", begun.id, grace=60)
        assert result.outcome is not None and result.outcome.exit_code == 128 + signal.SIGHUP
        await pool.delete_vm(USER, "box")


@real
async def test_it_outlives_its_server(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        begun = await shell(pool)
        await type_in(pool, begun, "me=here\n")
        await written(pool, begun, "me=here\r\n" + PROMPT)
    async with serve() as pool:

        async def followed() -> bool:
            return bool((await pool.status(USER, "box")).executions)

        await eventually(followed)
        await pool.controls.resize(USER, "box", begun.id, TerminalSize(90, 30))
        position = await pool.controls.write_stdin(USER, "box", begun.id, b"")
        text = b"echo I am $me; stty size; exit\n"
        await pool.controls.write_stdin(USER, "box", begun.id, text, offset=position.offset)
        output = await output_of(pool, begun)
        assert "I am here\r\n" in output and "30 90\r\n" in output
        await pool.delete_vm(USER, "box")


async def test_one_that_nobody_reads_ends(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        read, unread = await begin(pool, "cat", linger=0.5), await begin(pool, "cat", linger=0.5)
        stays = await begin(pool, "cat")
        following = await pool.streams.follow(USER, "box", read.id, Position())
        async with aclosing(following), anyio.create_task_group() as tasks:
            tasks.start_soon(anext, following)
            result = await ended(pool, unread)
            assert (result.state, result.failure) == (ExecutionState.FINISHED, "it was cancelled")
            await anyio.sleep(0.7)
            for one in (read, stays):
                assert (await pool.get_execution(USER, "box", one.id)).state is ExecutionState.RUNNING
            tasks.cancel_scope.cancel()
        await ended(pool, read)
        assert (await pool.get_execution(USER, "box", stays.id)).state is ExecutionState.RUNNING
        await pool.delete_vm(USER, "box")


@whole
async def test_a_flood_is_all_there(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        count = 200_000
        begun = await begin(pool, f"seq {count}")
        size = 0
        async with aclosing(await pool.streams.follow(USER, "box", begun.id, Position())) as values:
            async for value in values:
                if isinstance(value, Piece):
                    assert not value.skipped
                    size += len(value.data)
        assert size == sum(len(str(number)) + 2 for number in range(1, count + 1))
        await pool.delete_vm(USER, "box")
