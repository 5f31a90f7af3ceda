"""Programs started before their code comes: which executions they take, and that none is lost to one."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import Agent, eventually
from tests.agent.wire import PATH, Result, Wire
from vmpool.agent.messages import Message

PYTHON = "/usr/bin/python3"
WAITS = """
import os, sys, time
time.sleep(float(sys.argv[1]))
os.write(100, b".")
job = b""
while part := os.read(100, 65536):
    job += part
os.close(100)
umask, empty, cwd, count, *words = job.decode().split("\\0")[:-1]
os.chdir(cwd)
sys.argv = words[1:int(count)]
os.environ.clear()
os.environ.update(word.split("=", 1) for word in words[int(count):])
exec(open(sys.argv[0]).read())
"""
"""What every prestarted program does, in little."""
PROGRAM = (
    "import os, sys\n"
    "print(sys.argv[1:], os.getcwd(), os.environ.get('MINE'), sorted(os.listdir('/proc/self/fd')))"
)


def warm_up(
    agent: Agent, wire: Wire, *, delay: float = 0, program: str = WAITS, spares: int = 1, **fields: Any
) -> None:
    wire.ask(
        Message.WARM,
        name="waiting",
        argv=[word.encode() for word in (PYTHON, "-c", program, str(delay))],
        env=[f"PATH={PATH}".encode(), b"STANDING=1"],
        cwd=os.fsencode(agent.home),
        strategy="prestarted",
        spares=spares,
        **{"command": [PYTHON.encode()], "fixed": [b"STANDING"], **fields},
    )


def run(agent: Agent, wire: Wire, number: int, program: str = PROGRAM, **fields: Any) -> Result:
    source = str(agent.home / "main.txt")
    env = {"STANDING": "1", **fields.pop("env", {})}
    argv = fields.pop("argv", (PYTHON, source, "an argument"))
    wire.start(
        number,
        *argv,
        env=env,
        **{
            "cwd": str(agent.home),
            "source_path": source,
            "source_data": program.encode(),
            "warm": "waiting",
            **fields,
        },
    )
    return wire.finish(number)


def run_warm(agent: Agent, wire: Wire, first: int, program: str = PROGRAM, **fields: Any) -> Result:
    for number in range(first, first + 200):
        result = run(agent, wire, number, program, **fields)
        if result.warm:
            return result
        time.sleep(0.02)
    raise AssertionError("never warm")


def waiting(agent: Agent) -> list[int]:
    """Processes below the agent that are no supervisors."""
    found = []
    below = {agent.pid}
    for _ in range(3):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) not in below:
                try:
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    argv = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if parent in below:
                    below.add(int(entry.name))
                    if argv.startswith(PYTHON.encode()):
                        found.append(int(entry.name))
    return found


def test_it_is_given_its_code(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire)
    cold = run(agent, wire, 1, env={"MINE": "x"}, warm=None)
    warm = run_warm(agent, wire, 100, env={"MINE": "x"})
    assert warm.outcome == cold.outcome
    assert not (agent.home / "main.txt").exists()


def test_each_serves_once(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire, spares=2)
    pids = {
        bytes(run_warm(agent, wire, first, "import os; print(os.getpid())").stdout) for first in (1, 300, 600)
    }
    assert len(pids) == 3


def test_input_status_and_signals(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire)
    echo = "import sys; print(sys.stdin.read().upper()); sys.exit(5)"
    assert run_warm(agent, wire, 1, echo, stdin_data=b"abc").outcome == ("ABC\n", "", 5, 0)
    killed = run_warm(agent, wire, 300, "import os; os.kill(os.getpid(), 9)")
    assert killed["signal"] == signal.SIGKILL
    slow = run_warm(agent, wire, 600, "import time; print('x', flush=True); time.sleep(100)", timeout_ms=300)
    assert (slow["timed_out"], bytes(slow.stdout)) == (1, b"x\n")
    child = "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(100)\nprint('main')"
    assert run_warm(agent, wire, 900, child).stdout == b"main\n"


def test_one_that_still_starts_is_waited_for(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire, delay=0.5)
    result = run(agent, wire, 1)
    assert result.warm
    assert b"an argument" in result.stdout


@pytest.mark.parametrize(
    "difference",
    [
        {"env": {"STANDING": "2"}},
        {"env": {"STANDING_TOO": "1"}},
        {"argv": (PYTHON, "-u", "{source}")},
        {"argv": ("python3", "{source}")},
        {"umask": 0o077},
        {"rlimits": {7: (512, 1024)}},
        {"rlimits": {5: (1 << 30, 1 << 30)}},
        {"build": ("true",)},
    ],
    ids=str,
)
def test_what_it_would_do_differently_is_cold(agent: Agent, wire: Wire, difference: dict[str, Any]) -> None:
    warm_up(agent, wire)
    run_warm(agent, wire, 1)
    difference = dict(difference)
    if "argv" in difference:
        source = str(agent.home / "main.txt")
        difference["argv"] = tuple(word.format(source=source) for word in difference["argv"])
    result = run(agent, wire, 500, "print('ran')", **difference)
    assert (result.warm, bytes(result.stdout)) == (False, b"ran\n")


def test_the_usual_limits_are_no_difference(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire)
    run_warm(agent, wire, 1, rlimits={4: (1, 1), 7: (1024, 4096)})


def test_a_fixed_directory(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire, fixed_cwd=1)
    run_warm(agent, wire, 1)
    elsewhere = run(agent, wire, 500, cwd="/tmp")
    assert not elsewhere.warm
    assert b"/tmp" in elsewhere.stdout


def test_a_directory_made_anew_is_not_the_one_it_stands_in(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire, fixed_cwd=1)
    run_warm(agent, wire, 1)
    eventually(lambda: len(waiting(agent)) == 1)
    agent.home.rename(agent.home.with_name("moved"))
    agent.home.mkdir()
    result = run(agent, wire, 500)
    assert not result.warm
    assert str(agent.home).encode() in result.stdout


@pytest.mark.parametrize("program", ["1/0", "import os; os.close(100); import time; time.sleep(100)"])
def test_one_that_cannot_become_ready_harms_nothing(agent: Agent, wire: Wire, program: str) -> None:
    warm_up(agent, wire, program=program, spares=2)
    for number in range(1, 8):
        assert run(agent, wire, number, "print(1)").outcome == ("1\n", "", 0, 0)
        time.sleep(0.05)


def test_killed_ones_cost_a_cold_start_only(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire, spares=2)
    run_warm(agent, wire, 1)
    eventually(lambda: len(waiting(agent)) == 2)
    killed = set(waiting(agent))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not killed & set(waiting(agent)))
    assert run(agent, wire, 500, "print(1)").stdout == b"1\n"
    run_warm(agent, wire, 600)


def test_dropped_ones_end(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire, spares=3)
    run_warm(agent, wire, 1)
    eventually(lambda: len(waiting(agent)) == 3)
    wire.ask(Message.WARM, name="waiting", strategy="prestarted", spares=0)
    eventually(lambda: not waiting(agent))
    assert not run(agent, wire, 500).warm


def test_they_end_with_the_agent(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire, spares=2)
    run_warm(agent, wire, 1)
    eventually(lambda: len(waiting(agent)) == 2)
    pids = waiting(agent)
    wire.ask(Message.SHUTDOWN, grace_ms=100)
    agent.wait()
    eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))


def test_one_that_cannot_be_made_is_not_tried_without_pause(agent: Agent, wire: Wire) -> None:
    warm_up(agent, wire)
    run_warm(agent, wire, 1)
    time.sleep(0.5)  # until the next one waits
    used = sorted(int(entry.name) for entry in Path(f"/proc/{agent.pid}/fd").iterdir())
    _, hard = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (len(used) + 5, hard))
    before = cpu_seconds(agent)
    run_warm(agent, wire, 1000, "import time; time.sleep(1)")
    assert cpu_seconds(agent) - before < 0.3
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (hard, hard))
    run_warm(agent, wire, 2000)


def cpu_seconds(agent: Agent) -> float:
    fields = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
