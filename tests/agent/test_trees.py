"""A foreground execution takes every descendant with it, whatever they try."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.agent.conftest import Agent, eventually
from tests.agent.wire import Wire
from vmpool.agent.codec import pack
from vmpool.agent.messages import Message

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3):
            os.close(fd)
        sys.argv[0]
        time.sleep(1000)
    os._exit(0)
time.sleep(0.1)
print("main done")
"""


def marked(mark: str) -> list[int]:
    """Processes of this host that carry the mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def mark() -> str:
    return f"vmpool-test-{os.getpid()}-{time.monotonic_ns()}"


def test_daemons_end_with_the_main_process(wire: Wire, mark: str) -> None:
    result = wire.run(1, "/usr/bin/python3", "-c", DAEMON, env={"MARK": mark})
    assert result.outcome == ("main done\n", "", 0, 0)
    assert marked(mark) == []


def test_a_descendant_holding_the_pipe_does_not_hold_the_end(wire: Wire, mark: str) -> None:
    began = time.monotonic()
    result = wire.sh(1, "echo early; setsid sleep 1000 & exit 5", env={"MARK": mark})
    assert result.outcome == ("early\n", "", 5, 0)
    assert time.monotonic() - began < 8
    assert marked(mark) == []


def test_a_timeout_ends_the_whole_tree(wire: Wire, mark: str) -> None:
    script = (
        "trap '' TERM INT HUP; (setsid sh -c 'trap \"\" TERM; sleep 1000 & sleep 1000' &); echo x; sleep 1000"
    )
    result = wire.sh(1, script, env={"MARK": mark}, timeout_ms=400)
    assert (result["timed_out"], result["signal"], bytes(result.stdout)) == (1, signal.SIGKILL, b"x\n")
    assert 350_000 < result["duration_us"] < 8_000_000
    assert marked(mark) == []


def test_a_grace_lets_it_end_by_itself(wire: Wire) -> None:
    script = "trap 'echo bye; exit 7' TERM; while :; do sleep 0.05; done"
    result = wire.sh(1, script, timeout_ms=300, exit_grace_ms=5000)
    assert (bytes(result.stdout), result["status"], result["timed_out"]) == (b"bye\n", 7, 1)


def test_signals_to_the_main_process_and_to_the_tree(wire: Wire) -> None:
    script = "trap 'echo got; exit 2' USR1; echo ready; while :; do sleep 0.05; done"
    wire.start(1, "sh", "-c", script)
    wire.expect(Message.OUTPUT, 1)
    wire.signal(1, signal.SIGUSR1)
    assert wire.expect(Message.EXITED, 1).u64("status") == 2
    wire.start(2, "sh", "-c", "sleep 1000; echo never")
    wire.expect(Message.STARTED, 2)
    wire.signal(2, signal.SIGKILL, tree=True)
    ended = wire.expect(Message.EXITED, 2)
    assert (ended.u64("signal"), ended.u64("cancelled")) == (signal.SIGKILL, 1)


def test_a_background_execution_keeps_its_descendants(wire: Wire, mark: str) -> None:
    script = "setsid sh -c 'sleep 0.3; echo unheard; sleep 1000' & echo main"
    result = wire.sh(1, script, env={"MARK": mark}, background=1)
    assert result.outcome == ("main\n", "", 0, 0)
    time.sleep(0.6)
    assert len(marked(mark)) == 2, "a shell and its sleep go on, though what it wrote went nowhere"
    wire.ask(Message.SHUTDOWN, grace_ms=0)
    eventually(lambda: marked(mark) == [])


def test_zombies_do_not_pile_up(pid_one: Agent) -> None:
    wire = pid_one.connect()
    script = "import os\nfor i in range(1000):\n    if os.fork() == 0: os._exit(0)\nprint('made')"
    assert wire.run(1, "/usr/bin/python3", "-c", script).stdout == b"made\n"
    assert wire.sh(2, "ps axo stat= | grep -c ^Z || true").stdout == b"0\n"


FORK_BOMB = """
import os, signal, sys
most = int(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    # the bound a VM's cgroup would set
    if sum(name.isdigit() for name in os.listdir("/proc")) < most and os.fork() == 0:
        os.setsid()
"""


@pytest.mark.parametrize("most", [60, 150])
def test_a_fork_bomb_ends(pid_one: Agent, mark: str, most: int) -> None:
    wire = pid_one.connect()
    began = time.monotonic()
    result = wire.run(2, "/usr/bin/python3", "-c", FORK_BOMB, str(most), env={"MARK": mark}, timeout_ms=2000)
    assert result["timed_out"] == 1
    assert time.monotonic() - began < 30
    assert marked(mark) == []
    assert wire.sh(3, "echo alive").stdout == b"alive\n"


def test_kill_minus_one_from_inside(pid_one: Agent, mark: str) -> None:
    wire = pid_one.connect()
    wire.start(1, "sh", "-c", "echo ready; sleep 1000", env={"MARK": mark})
    wire.expect(Message.OUTPUT, 1)
    wire.start(2, "sh", "-c", "kill -9 -1; sleep 1000", env={"MARK": mark})
    for number in (1, 2):
        ended = wire.expect(Message.EXITED, number)
        assert (ended.u64("signal"), ended.u64("cancelled")) == (signal.SIGKILL, 1)
    assert marked(mark) == []
    assert wire.sh(3, "echo alive").stdout == b"alive\n"


def test_a_stopped_supervisor_is_woken(wire: Wire) -> None:
    result = wire.sh(1, "kill -STOP $PPID; echo still; exit 6", timeout_ms=5000)
    assert result.outcome == ("still\n", "", 6, 0)


def test_a_killed_supervisor_takes_its_execution_with_it(agent: Agent, wire: Wire, mark: str) -> None:
    scratch = agent.home / "scratch"
    wire.start(1, "sh", "-c", "echo other; sleep 1; echo fine")
    result = wire.sh(
        2, "setsid sleep 1000 & kill -9 $PPID; sleep 1000", env={"MARK": mark}, scratch_path=str(scratch)
    )
    assert (result["signal"], result["cancelled"]) == (signal.SIGKILL, 1)
    assert marked(mark) == []
    assert wire.finish(1).outcome == ("other\nfine\n", "", 0, 0)
    eventually(lambda: not scratch.exists())


def test_the_agent_is_closed_to_its_programs(pid_one: Agent) -> None:
    wire = pid_one.connect()
    script = (
        "cat /proc/1/environ; ls /proc/1/fd; readlink /proc/1/exe; "
        "for s in TERM INT HUP KILL STOP QUIT SEGV; do kill -$s 1; done; echo tried"
    )
    result = (
        wire.run(
            1,
            "setpriv",
            "--reuid=12345",
            "--regid=12345",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "sh",
            "-c",
            script,
        )
        if os.geteuid() == 0
        else wire.sh(1, script)
    )
    assert result.stdout == b"tried\n", result.outcome
    wire.ask(Message.PING)


def test_shutdown_is_immediate_when_nothing_runs(agent: Agent, wire: Wire) -> None:
    began = time.monotonic()
    wire.ask(Message.SHUTDOWN, grace_ms=5000)
    assert agent.wait() == 0
    assert time.monotonic() - began < 3


def test_shutdown_asks_first_and_kills_then(agent: Agent, wire: Wire, mark: str) -> None:
    wire.start(1, "sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    wire.start(2, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done", env={"MARK": mark})
    for number in (1, 2):
        wire.expect(Message.OUTPUT, number)
    wire.send(Message.SHUTDOWN, 99, pack(Message.SHUTDOWN, grace_ms=500))
    wire.expect(Message.DONE, 99)
    ends = {number: wire.expect(Message.EXITED, number) for number in (1, 2)}
    assert (ends[1].u64("status"), ends[1].u64("cancelled")) == (3, 1)
    assert (ends[2].u64("signal"), ends[2].u64("cancelled")) == (signal.SIGKILL, 1)
    assert agent.wait() == 0
    assert marked(mark) == []
