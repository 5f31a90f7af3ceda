"""Executions that go on while somebody does something about them, through a whole pool on every backend."""

from __future__ import annotations

import math
import signal
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import pytest

from tests.conformance.backends import Power
from tests.conformance.pool import USER, Serve, ended, eventually, make, run, start, written
from vmpool.domain import Execution, ExecutionRequest, ExecutionState, Limits
from vmpool.pool.requests import VMRequest
from vmpool.pool.watch import Piece, Position

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]
real = pytest.mark.requires(Power.REAL_PROGRAMS)

Following = AsyncGenerator[Piece | Execution, None]


async def test_one_goes_on_without_its_caller_and_its_server(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        begun = await start(pool, "echo begun; cat; echo ended; exit 5", stdin_open=True)
        await written(pool, begun, "begun")
        position = await pool.controls.write_stdin(USER, "box", begun.id, b"one\n")
        assert position.offset == 4
        await written(pool, begun, "one")
    async with serve() as pool:

        async def followed() -> bool:
            return bool((await pool.status(USER, "box")).executions)

        await eventually(followed)
        found = await pool.get_execution(USER, "box", begun.id)
        assert (found.state, found.background) == (ExecutionState.RUNNING, True)
        again = await pool.controls.write_stdin(USER, "box", begun.id, b"one\ntwo\n", offset=0, close=True)
        assert (again.offset, again.closed) == (8, True)
        result = await ended(pool, begun)
        assert result.outcome is not None
        assert (result.outcome.output, result.outcome.exit_code) == ("begun\none\ntwo\nended\n", 5)
        await pool.delete_vm(USER, "box")


async def test_code_in_a_language_in_the_background(serve: Serve) -> None:
    """Twice, so that the second finds an interpreter that waits, where there is one."""
    async with serve() as pool:
        await make(pool)
        for number in range(2):
            request = ExecutionRequest(
                code="print(input() + '!')", background=True, timeout=math.inf, stdin_open=True
            )
            begun = await pool.start_execution(USER, "box", request)
            await pool.controls.write_stdin(USER, "box", begun.id, b"hello\n")
            result = await ended(pool, begun)
            assert result.outcome is not None and result.outcome.output == "hello!\n", number
        await pool.delete_vm(USER, "box")


@real
async def test_cancelling_ends_everything_it_started(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        begun = await start(
            pool, "setsid sleep 12345 & (trap '' TERM; echo begun; while :; do sleep 0.1; done)"
        )
        await written(pool, begun, "begun")
        assert await run(pool, "pgrep -fc '^sleep 12345' || true") == "1\n"
        result = await pool.controls.cancel(USER, "box", begun.id, grace=0.2)
        assert result.outcome is not None
        assert (result.state, result.failure) == (ExecutionState.FINISHED, "it was cancelled")
        assert result.outcome.exit_code == 128 + signal.SIGKILL or result.outcome.exit_code == 128 + 15
        assert await run(pool, "pgrep -fc '^sleep 12345' || true") == "0\n"
        await pool.delete_vm(USER, "box")


@real
async def test_a_signal_reaches_the_program_or_all_of_it(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        begun = await start(
            pool, "trap 'echo got it' USR1; trap 'exit 7' USR2; echo begun; while :; do sleep 0.05; done"
        )
        await written(pool, begun, "begun")
        await pool.controls.signal(USER, "box", begun.id, signal.SIGUSR1)
        await written(pool, begun, "got it")
        await pool.controls.signal(USER, "box", begun.id, signal.SIGUSR2)
        result = await ended(pool, begun)
        assert result.outcome is not None and result.outcome.exit_code == 7
        assert result.failure is None
        await pool.delete_vm(USER, "box")


@real
async def test_what_a_background_execution_leaves_runs_on(serve: Serve) -> None:
    """A service that puts itself into the background; the foreground's descendants end with it."""
    async with serve() as pool:
        await make(pool)
        await run(pool, "setsid sleep 23456 > /dev/null 2>&1 &")
        begun = await start(pool, "setsid sleep 34567 > /dev/null 2>&1 &")
        result = await ended(pool, begun)
        assert result.outcome is not None and result.outcome.exit_code == 0
        assert await run(pool, "pgrep -fc '^sleep 23456' || true") == "0\n"
        assert await run(pool, "pgrep -fc '^sleep 34567' || true") == "1\n"
        await pool.stop_vm(USER, "box")
        await pool.start_vm(USER, "box")
        assert await run(pool, "pgrep -fc '^sleep 34567' || true") == "0\n"
        await pool.delete_vm(USER, "box")


async def test_a_stop_ends_them(serve: Serve) -> None:
    async with serve() as pool:
        await make(pool)
        begun = await start(pool, "echo begun; sleep 600")
        await written(pool, begun, "begun")
        await pool.stop_vm(USER, "box")
        result = await ended(pool, begun)
        assert (result.state, result.failure) == (ExecutionState.LOST, "ended because the VM was stopped")
        assert result.outcome is not None and result.outcome.output == "begun\n"
        await pool.delete_vm(USER, "box")


async def test_output_as_it_comes_from_any_position(serve: Serve) -> None:
    """Beside a reader that stops reading: neither the program nor the others wait for it."""
    async with serve() as pool:
        await make(pool)
        code = (
            "import sys\nsys.stdout.write('ready\\n')\nsys.stdout.flush()\ninput()\n"
            "for n in range(200):\n    sys.stdout.write('%07d\\n' % n * 1024)\n"
            "sys.stderr.write('end\\n')\n"
        )
        request = ExecutionRequest(code=code, background=True, timeout=math.inf, stdin_open=True)
        begun = await pool.start_execution(USER, "box", request)
        whole = b"ready\n" + b"".join(b"%07d\n" % number * 1024 for number in range(200))
        slow = await pool.streams.follow(USER, "box", begun.id, Position())
        found: dict[int, tuple[bytes, bytes]] = {}

        async def read(at: int) -> None:
            following = await pool.streams.follow(USER, "box", begun.id, Position(at))
            found[at] = await everything(following)

        async with aclosing(slow):
            first = await anext(slow)
            assert isinstance(first, Piece) and first.data == b"ready\n"
            with anyio.fail_after(60):
                async with anyio.create_task_group() as tasks:
                    for at in (0, 6, 1_000_000):
                        tasks.start_soon(read, at)
                    await pool.controls.write_stdin(USER, "box", begun.id, b"go\n", close=True)
            assert {at: (out == whole[at:], err) for at, (out, err) in found.items()} == dict.fromkeys(
                (0, 6, 1_000_000), (True, b"end\n")
            )
            out, err = await everything(slow)
            assert (first.data + out == whole, err) == (True, b"end\n")
        await pool.delete_vm(USER, "box")


async def everything(values: Following) -> tuple[bytes, bytes]:
    """Both streams to the end, which must come."""
    out, err, end = bytearray(), bytearray(), None
    async for value in values:
        if isinstance(value, Piece):
            assert not value.skipped
            (out if value.stream == "stdout" else err).extend(value.data)
        else:
            end = value
    assert end is not None and end.state is ExecutionState.FINISHED
    return bytes(out), bytes(err)


@pytest.mark.requires(Power.ALL_LANGUAGES)
@pytest.mark.parametrize(
    ("language", "broken", "failing"),
    [
        ("c", "int main(void) { return 0", "int main(void) { return 1; }"),
        (
            "java",
            "public class Main {",
            "public class Main { public static void main(String[] a) { System.exit(1); } }",
        ),
    ],
)
async def test_what_cannot_be_compiled_is_told_from_what_fails(
    serve: Serve, language: str, broken: str, failing: str
) -> None:
    async with serve() as pool:
        await pool.create_vm(USER, VMRequest("box", language, limits=Limits(memory=1024)))
        for code, build_failed in ((broken, True), (failing, False)):
            result = await pool.execute(USER, "box", ExecutionRequest(code=code, timeout=60))
            assert result.outcome is not None and result.outcome.exit_code == 1, result
            assert result.outcome.build_failed is build_failed
            assert await pool.get_execution(USER, "box", result.id) == result
        await pool.delete_vm(USER, "box")
