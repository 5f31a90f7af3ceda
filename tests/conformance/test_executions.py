"""Running programs through the agent of a machine, the same on every backend."""

from __future__ import annotations

import gc

import anyio
import psutil
import pytest

from tests.captured import run
from tests.conformance.backends import Power
from tests.conformance.box import Box, next_id, shell_spec, source_spec
from vmpool.agent import Exit, Output, open_client
from vmpool.domain import LANGUAGES

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
real = pytest.mark.requires(Power.REAL_PROGRAMS)


async def test_output_apart(box: Box) -> None:
    captured = await box.python("import sys\nprint('out')\nprint('err', file=sys.stderr)\n")
    assert (captured.stdout, captured.stderr) == (b"out\n", b"err\n")
    assert captured.exit.exit_code == 0


async def test_output_that_is_not_utf8(box: Box) -> None:
    captured = await box.python(
        "import sys\nsys.stdout.buffer.write(b'\\xff\\xfe\\x00ok')\nsys.stdout.flush()\n"
    )
    assert captured.stdout == b"\xff\xfe\x00ok"


@pytest.mark.parametrize("status", [0, 3, 255])
async def test_exit_codes(box: Box, status: int) -> None:
    assert (await box.sh(f"exit {status}")).exit.exit_code == status
    assert (await box.python(f"import sys\nsys.exit({status})\n")).exit.exit_code == status


async def test_a_command_that_is_not_there_is_127(box: Box) -> None:
    captured = await box.sh("certainly-not-there")
    assert captured.exit.exit_code == 127
    assert b"not found" in captured.stderr


@real
async def test_a_command_that_may_not_run_is_126(box: Box) -> None:
    captured = await box.sh("echo x > plain; ./plain")
    assert captured.exit.exit_code == 126


@real
@pytest.mark.parametrize(("name", "number"), [("KILL", 9), ("SEGV", 11), ("TERM", 15)])
async def test_a_signal_is_128_and_its_number(box: Box, name: str, number: int) -> None:
    captured = await box.sh(f"kill -{name} $$")
    assert captured.exit.signal == number
    assert captured.exit.exit_code == 128 + number
    assert not captured.exit.timed_out


async def test_a_traceback_and_exit_code_one(box: Box) -> None:
    captured = await box.python("print('before')\nraise ValueError('bad')\n")
    assert captured.stdout == b"before\n"
    assert captured.stderr.rstrip().endswith(b"ValueError: bad")
    assert captured.exit.exit_code == 1


async def test_standard_input(box: Box) -> None:
    captured = await box.python("print(input() + '!')", stdin=b"hello\n")
    assert captured.stdout == b"hello!\n"
    assert (await box.sh("cat")).stdout == b""


async def test_a_large_standard_input(box: Box) -> None:
    data = b"0123456789abcde\n" * 130_000
    number = next_id()
    captured = await run(box.client, number, shell_spec("cat", stdin=data), inline_limit=4 << 20)
    assert captured.stdout == data


async def test_the_environment_is_what_is_asked_for(box: Box) -> None:
    env = {"PATH": "/usr/bin:/bin", "LETTER": "ä", "EMPTY": "", "LONG": "x" * 10_000}
    captured = await box.sh("env", env=env)
    seen = dict(line.split("=", 1) for line in captured.stdout.decode().splitlines())
    assert {name: seen.get(name) for name in env} == env
    assert seen.keys() - env.keys() <= {"PWD", "SHLVL", "_", "OLDPWD"}


async def test_the_working_directory(box: Box) -> None:
    assert await box.output("pwd") == "/home/user"
    await box.output("mkdir -p sub")
    assert await box.output("pwd", cwd="/home/user/sub") == "/home/user/sub"


async def test_thirty_two_at_once(box: Box) -> None:
    async def one(number: int) -> None:
        captured = await box.sh(f"echo {number}; sleep 0.2; echo e{number} >&2; exit {number}")
        assert captured.stdout == f"{number}\n".encode()
        assert captured.stderr == f"e{number}\n".encode()
        assert captured.exit.exit_code == number

    async with anyio.create_task_group() as tasks:
        for number in range(32):
            tasks.start_soon(one, number)


async def test_the_same_code_ten_times_at_once(box: Box) -> None:
    results = []

    async def one() -> None:
        results.append(await box.python("print(sum(range(1000)))\n"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(one)
    assert [(result.stdout, result.exit.exit_code) for result in results] == [(b"499500\n", 0)] * 10


async def test_fifty_megabytes_of_output_in_constant_memory(box: Box) -> None:
    code = "import sys\nfor i in range(800): sys.stdout.write('x' * 65536)\n"
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    peak = 0

    def watch(output: Output) -> None:
        nonlocal peak
        peak = max(peak, process.memory_info().rss)

    number = next_id()
    spec = source_spec(LANGUAGES["python"], code, number)
    captured = await run(box.client, number, spec, inline_limit=65536, observer=watch)
    assert len(captured.stdout) == 65536
    assert captured.stdout_dropped == 800 * 65536 - 65536
    assert peak - before < 32 << 20


async def test_a_timeout_keeps_what_was_written(box: Box) -> None:
    captured = await box.python("import time\nprint('begun', flush=True)\ntime.sleep(60)\n", timeout=0.7)
    assert captured.exit.timed_out
    assert captured.exit.signal == 9
    assert captured.stdout == b"begun\n"
    assert captured.exit.duration < 20


@real
async def test_a_timeout_ends_the_whole_tree(box: Box) -> None:
    script = (
        "sleep 1001 & setsid sleep 1002 & (setsid sh -c 'sleep 1003 & sleep 1004' &) ;"
        "trap '' TERM INT HUP; sleep 1005"
    )
    captured = await box.sh(script, timeout=0.7)
    assert captured.exit.timed_out
    assert await _sleepers(box, "100") == []


@real
async def test_what_a_foreground_execution_leaves_ends_with_it(box: Box) -> None:
    code = (
        "import os, time\n"
        "for n in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            os.execvp('sleep', ['sleep', '200' + str(n)])\n"
        "        os._exit(0)\n"
        "time.sleep(0.2)\n"
        "print('done')\n"
    )
    captured = await box.python(code)
    assert captured.stdout == b"done\n"
    assert captured.exit.duration < 20
    assert await _sleepers(box, "200") == []


@real
async def test_an_execution_that_closed_its_output_early_is_still_waited_for(box: Box) -> None:
    captured = await box.sh("exec >/dev/null 2>&1; sleep 0.5; exit 9")
    assert captured.exit.exit_code == 9
    assert captured.exit.duration >= 0.5


@real
async def test_a_descendant_holding_the_output_does_not_hold_the_execution(box: Box) -> None:
    captured = await box.sh("sleep 3001 & echo started")
    assert captured.stdout == b"started\n"
    assert captured.exit.duration < 20
    assert await _sleepers(box, "300") == []


@real
async def test_a_background_execution_goes_on(box: Box) -> None:
    captured = await box.sh("sleep 4001 & echo started", background=True)
    assert captured.stdout == b"started\n"
    sleepers = await _sleepers(box, "400")
    assert len(sleepers) == 1
    await box.output(f"kill -9 {sleepers[0]}")


async def _sleepers(box: Box, prefix: str) -> list[int]:
    """Pids of `sleep` processes in the machine whose argument starts with the prefix."""
    code = (
        "import os\n"
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try: words = open(f'/proc/{pid}/cmdline', 'rb').read().split(b'\\0')\n"
        "    except OSError: continue\n"
        f"    if words[0] == b'sleep' and words[1].startswith(b'{prefix}'): print(pid)\n"
    )
    return [int(line) for line in (await box.python(code)).stdout.split()]


@real
async def test_figures_of_an_execution(box: Box) -> None:
    code = (
        "import time\n"
        "x = bytearray(80 << 20)\n"
        "end = time.process_time() + 0.3\n"
        "while time.process_time() < end: pass\n"
    )
    ended = (await box.python(code)).exit
    assert 0.25 < ended.user_seconds + ended.system_seconds < 10
    assert 70 << 20 < ended.max_rss < 400 << 20
    assert ended.duration >= 0.3


async def test_reattached_after_the_connection_was_dropped(box: Box) -> None:
    async with open_client(lambda: box.backend.dial(box.key)) as first:
        process = await first.start(number := next_id(), shell_spec("echo one; sleep 1; echo two; exit 4"))
        event = await anext(process.events())
        assert isinstance(event, Output)
        assert event.data == b"one\n"
    async with open_client(lambda: box.backend.dial(box.key)) as second:
        assert (number, True) in await second.executions()
        attached = await second.attach(number, stdout_offset=4)
        events = [event async for event in attached.events()]
        assert [event.data for event in events if isinstance(event, Output)] == [b"two\n"]
        assert isinstance(events[-1], Exit)
        assert events[-1].exit_code == 4
        await attached.release()


async def test_started_twice_runs_once(box: Box) -> None:
    number = next_id()
    spec = shell_spec("echo x >> twice; sleep 0.3; cat twice")
    first = await box.client.start(number, spec)
    async with open_client(lambda: box.backend.dial(box.key)) as second:
        again = await second.start(number, spec)
        assert again.pid == first.pid
        data = b"".join([event.data async for event in again.events() if isinstance(event, Output)])
        assert data == b"x\n"
        await again.release()


async def test_files_through_the_agent(box: Box) -> None:
    data = bytes(range(256)) * 6000
    await box.client.write_file("/home/user/from/host", data, parents=True, mode=0o640)
    assert await box.client.read_file("/home/user/from/host") == data
    await box.output("echo inside > /home/user/from/inside")
    assert await box.client.read_file("/home/user/from/inside") == b"inside\n"


@real
async def test_files_from_the_host_belong_to_the_user(box: Box) -> None:
    await box.client.write_file("/home/user/owned", b"#!/bin/sh\necho ran\n", mode=0o750)
    code = "import os\ns = os.stat('owned')\nprint(s.st_uid, s.st_gid, oct(s.st_mode & 0o777))\n"
    assert (await box.python(code)).stdout == b"1000 1000 0o750\n"
    assert await box.output("./owned") == "ran"


async def test_cancelling_ends_it(box: Box) -> None:
    with anyio.move_on_after(0.5):
        await box.sh("sleep 5001")
    with anyio.fail_after(10):
        while any(running for _, running in await box.client.executions()):
            await box.client.ping()
