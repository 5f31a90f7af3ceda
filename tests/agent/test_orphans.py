"""Where no process can adopt its descendants' orphans (gVisor before 2023) the agent ends them itself."""

from __future__ import annotations

import errno
import signal
import time
from pathlib import Path

import pytest

from tests.agent.conftest import Agent, Launch, eventually
from tests.agent.test_filter import call
from tests.agent.test_trees import DAEMON, FORK_BOMB, mark, marked
from tests.agent.test_warm import run_warm, start, warm_up
from tests.agent.wire import Wire
from vmpool.agent.messages import Message

__all__ = ["mark"]

PYTHON = ("/usr/bin/python3", "-c")
STRAY = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "1000"])
    os._exit(0)
time.sleep(0.1)
"""


@pytest.fixture
def wire(agent_binary: Path, launch: Launch) -> Wire:
    return launch(agent_binary, "--no-subreaper", pid_one=True).connect()


def running(wire: Wire, execution: int) -> None:
    """Start one that prints a line and stays, and see that line."""
    wire.start(execution, "sh", "-c", "echo ready; sleep 1000")
    wire.expect(Message.OUTPUT, execution)
    time.sleep(0.05)


def end(wire: Wire, execution: int) -> None:
    wire.signal(execution, signal.SIGKILL, tree=True)
    wire.finish(execution)


def test_daemons_end_with_the_main_process(wire: Wire, mark: str) -> None:
    result = wire.run(1, *PYTHON, DAEMON, env={"MARK": mark})
    assert result.outcome == ("main done\n", "", 0, 0)
    assert marked(mark) == []


def test_a_timeout_ends_the_whole_tree(wire: Wire, mark: str) -> None:
    script = "trap '' TERM; (setsid sh -c 'sleep 1000 & sleep 1000' &); (sleep 1000 &); sleep 1000"
    assert wire.sh(1, script, env={"MARK": mark}, timeout_ms=400)["timed_out"] == 1
    assert marked(mark) == []


def test_a_fork_bomb_ends(wire: Wire, mark: str) -> None:
    result = wire.run(2, *PYTHON, FORK_BOMB, "60", env={"MARK": mark}, timeout_ms=2000)
    assert result["timed_out"] == 1
    assert marked(mark) == []
    assert wire.sh(3, "echo alive").stdout == b"alive\n"


def test_an_orphan_in_the_session_ends_at_once_whoever_else_runs(wire: Wire, mark: str) -> None:
    running(wire, 1)
    assert wire.sh(2, "(sleep 1000 &); echo done", env={"MARK": mark}).stdout == b"done\n"
    assert marked(mark) == []


def test_an_unknown_orphan_is_spared_while_it_may_belong_to_another(wire: Wire, mark: str) -> None:
    running(wire, 1)
    result = wire.run(2, *PYTHON, STRAY + "print('done')", env={"MARK": mark})
    assert result.outcome == ("done\n", "", 0, 0), "what is spared does not hold the output either"
    assert len(marked(mark)) == 1
    end(wire, 1)
    assert marked(mark) == []


def test_an_execution_that_began_later_does_not_protect_it(wire: Wire, mark: str) -> None:
    wire.start(1, *PYTHON, STRAY + "print('ready', flush=True); time.sleep(1)", env={"MARK": mark})
    wire.expect(Message.OUTPUT, 1)
    time.sleep(0.1)
    running(wire, 2)
    wire.expect(Message.EXITED, 1)
    assert marked(mark) == []


def test_what_a_background_execution_leaves_outlives_others(wire: Wire, mark: str) -> None:
    assert wire.run(1, *PYTHON, STRAY, env={"MARK": mark}, background=1).outcome == ("", "", 0, 0)
    for number in (2, 3):
        wire.sh(number, "(sleep 1000 &)")
    assert len(marked(mark)) == 1


def test_a_background_execution_told_to_end_takes_its_orphans_along(wire: Wire, mark: str) -> None:
    wire.start(1, *PYTHON, STRAY, env={"MARK": mark}, background=1)
    wire.finish(1, release=False)
    assert len(marked(mark)) == 1
    wire.signal(1, signal.SIGKILL, tree=True)
    eventually(lambda: marked(mark) == [])


def test_a_killed_supervisor_takes_its_execution_with_it(wire: Wire, mark: str) -> None:
    running(wire, 1)
    result = wire.sh(2, "(sleep 1000 &) ; kill -9 $PPID; sleep 1000", env={"MARK": mark})
    assert (result["signal"], result["cancelled"]) == (signal.SIGKILL, 1)
    assert marked(mark) == []
    assert wire.listed()[1][1] == 1, "the other goes on"


def test_process_one_cannot_be_made_the_target_of_a_deadly_signal(pid_one: Agent) -> None:
    wire = pid_one.connect()
    calls = {"kill": (1,), "tkill": (1,), "tgkill": (1, 1), "rt_sigqueueinfo": (1,), "fcntl": (0, 10)}
    for number in (signal.SIGKILL, signal.SIGSTOP):
        for name, arguments in calls.items():
            expected = (-1, errno.EINVAL) if name == "fcntl" else (0, 0)
            assert call(wire, name, (*arguments, number)) == expected, name
    assert call(wire, "fcntl", (0, 10, signal.SIGUSR1)) == (0, 0)
    assert call(wire, "kill", (2**22, signal.SIGKILL)) == (-1, errno.ESRCH)


def test_beside_spares_in_the_making(built: Path, launch: Launch, mark: str) -> None:
    agent = launch(built, "--no-subreaper", pid_one=True)
    wire = agent.connect()
    warm_up(agent, wire)
    for number in (5000, 6000):
        assert run_warm(agent, wire, STRAY + "print('done')", number, env={"MARK": mark}).stdout == b"done\n"
        eventually(lambda: marked(mark) == [])
    start(agent, wire, 7000, STRAY + "print('made', flush=True); time.sleep(1)", env={"MARK": mark})
    eventually(lambda: len(marked(mark)) >= 1)
    wire.finish(7000)
    eventually(lambda: marked(mark) == [])
