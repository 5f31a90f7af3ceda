"""Starting, output, ends."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path

import pytest

from tests.agent.conftest import Agent, eventually
from tests.agent.wire import Refused, Wire
from vmpool.agent.codec import pack
from vmpool.agent.messages import STDOUT, WINDOW_BYTES, Message


def test_output_and_status_are_kept_apart(wire: Wire) -> None:
    result = wire.sh(1, "echo out; echo err >&2; exit 3")
    assert result.outcome == ("out\n", "err\n", 3, 0)
    assert (result["stdout_bytes"], result["stderr_bytes"]) == (4, 4)


def test_a_signal_is_not_a_status(wire: Wire) -> None:
    result = wire.sh(1, "kill -SEGV $$")
    assert (result["status"], result["signal"]) == (0, signal.SIGSEGV)


def test_bytes_that_are_no_text(wire: Wire) -> None:
    data = bytes(range(256)) * 3
    script = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 3)"
    assert wire.run(1, "/usr/bin/python3", "-c", script).stdout == data


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("no-such-program", 127, b"no-such-program: command not found\n"),
        ("/no/such/program", 127, b"/no/such/program: No such file or directory\n"),
        ("/etc/passwd", 126, b"/etc/passwd: Permission denied\n"),
        ("/", 126, b"/: Permission denied\n"),
    ],
)
def test_what_cannot_run_answers_as_a_shell_does(wire: Wire, command: str, status: int, words: bytes) -> None:
    result = wire.run(1, command)
    assert (result["status"], bytes(result.stderr)) == (status, words)


def test_the_path_searched_is_the_programs_own(agent: Agent, wire: Wire) -> None:
    tool = agent.home / "tool"
    tool.write_text("echo found")  # no first line: a shell runs it
    tool.chmod(0o755)
    assert wire.run(1, "tool", env={"PATH": "/nowhere:/usr/bin:/bin"})["status"] == 127
    assert wire.run(2, "tool", env={"PATH": f"/nowhere:{agent.home}:/usr/bin"}).stdout == b"found\n"


def test_working_directory(agent: Agent, wire: Wire) -> None:
    (agent.home / "sub").mkdir()
    assert wire.sh(1, "pwd").stdout.decode().strip() == str(agent.home)
    assert wire.sh(2, "pwd", cwd="sub").stdout.decode().strip() == str(agent.home / "sub")
    assert wire.sh(3, "pwd", cwd="/tmp").stdout == b"/tmp\n"
    with pytest.raises(Refused, match="not_found"):
        wire.sh(4, "pwd", cwd="/no/such/directory")
    assert wire.listed().keys().isdisjoint({4})


def test_the_environment_is_exactly_what_was_given(wire: Wire) -> None:
    result = wire.run(1, "env", env={"A": "1", "EMPTY": "", "UMLAUT": "ä=ö"})
    assert sorted(result.stdout.decode().splitlines()) == sorted(
        ["PATH=/usr/local/bin:/usr/bin:/bin", "A=1", "EMPTY=", "UMLAUT=ä=ö"]
    )


def test_limits_umask_and_defaults(wire: Wire) -> None:
    result = wire.sh(
        1,
        "ulimit -Sn; ulimit -Hn; ulimit -c; umask; ulimit -t",
        umask=0o077,
        rlimits={resource.RLIMIT_CPU: (7, 9)},
    )
    assert result.stdout.split() == [b"1024", b"4096", b"0", b"0077", b"7"]


def test_nothing_of_the_agents_is_inherited(wire: Wire) -> None:
    result = wire.run(
        1,
        "/usr/bin/python3",
        "-c",
        (
            "import os, signal\n"
            "print(sorted(os.listdir('/proc/self/fd'), key=int)[:-1])\n"
            "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
            "print([l.split()[1] for l in open('/proc/self/status') if l.startswith(('SigIgn', 'SigBlk'))])\n"
            "print(os.getsid(0) == os.getpid(), os.readlink('/proc/self/fd/0'))\n"
        ),
    )
    # Python itself ignores SIGPIPE and SIGXFSZ.
    assert result.stdout.decode().splitlines() == [
        "['0', '1', '2']",
        "set()",
        "['0000000000000000', '0000000001001000']",
        "True /dev/null",
    ], result.stderr


def test_source_and_scratch_are_there_while_it_runs_only(agent: Agent, wire: Wire) -> None:
    scratch, source = agent.home / "scratch", agent.home / "scratch" / "main.sh"
    result = wire.run(
        1,
        "sh",
        str(source),
        scratch_path=str(scratch),
        source_path=str(source),
        source_data=b'd="$(dirname "$0")"; stat -c %a "$0" "$d"; mkdir -p "$d/a/b"; touch "$d/a/b/c"',
    )
    assert result.outcome == ("644\n700\n", "", 0, 0)
    assert not scratch.exists()


def test_removal_follows_no_link_and_fears_no_depth(agent: Agent, wire: Wire) -> None:
    outside = agent.home / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    script = (
        f"cd scratch; ln -s {outside} link; mkdir locked; touch locked/file; chmod 000 locked; "
        "i=0; while [ $i -lt 1500 ]; do mkdir d && cd -P d; i=$((i+1)); done; touch leaf"
    )
    result = wire.sh(1, script, scratch_path=str(agent.home / "scratch"))
    assert result["status"] == 0, result.stderr
    assert not (agent.home / "scratch").exists()
    assert (outside / "kept").read_text() == "kept"


def test_a_source_is_never_written_through_a_link(agent: Agent, wire: Wire) -> None:
    target = agent.home / "target"
    target.write_text("untouched")
    (agent.home / "main.sh").symlink_to(target)
    result = wire.run(1, "sh", "main.sh", source_path=str(agent.home / "main.sh"), source_data=b"echo new")
    assert result.stdout == b"new\n"
    assert target.read_text() == "untouched"


def test_build_then_run(wire: Wire) -> None:
    result = wire.run(1, "sh", "-c", "echo run", build=["sh", "-c", "echo build"])
    assert (result.outcome, result["build_failed"]) == (("build\nrun\n", "", 0, 0), 0)
    result = wire.run(2, "sh", "-c", "echo run", build=["sh", "-c", "echo no >&2; exit 4"])
    assert (result.outcome, result["build_failed"]) == (("", "no\n", 4, 0), 1)


def test_time_and_memory_of_the_program(wire: Wire) -> None:
    script = "data = bytearray(60_000_000)\nfor i in range(3_000_000): pass"
    result = wire.run(1, "/usr/bin/python3", "-c", script)
    assert 60_000_000 < result["max_rss_bytes"] < 200_000_000
    assert 10_000 < result["user_us"] < 20_000_000
    assert result["duration_us"] >= result["user_us"] // 4
    small = wire.run(2, "true")
    assert small["max_rss_bytes"] < 30_000_000


def test_starting_twice_is_starting_once(agent: Agent, wire: Wire) -> None:
    script = "echo once >> marks; sleep 0.3; echo done"
    wire.start(1, "sh", "-c", script)
    wire.expect(Message.STARTED, 1)
    other = agent.connect()
    other.start(1, "sh", "-c", script)
    assert other.expect(Message.STARTED, 1).u64("already") == 1
    assert other.finish(1).stdout == b"done\n"
    assert (agent.home / "marks").read_text() == "once\n"


def test_32_at_once(wire: Wire) -> None:
    began = time.monotonic()
    for number in range(1, 33):
        wire.start(number, "sh", "-c", f"sleep 0.5; echo {number}; exit {number}")
    for number in range(1, 33):
        result = wire.finish(number)
        assert result.outcome == (f"{number}\n", "", number, 0)
    assert time.monotonic() - began < 12


def test_more_than_the_agent_takes_is_refused(wire: Wire) -> None:
    for number in range(1, 258):
        wire.start(number, "sleep", "60")
    with pytest.raises(Refused, match="too_many_executions"):
        wire.expect(Message.EXITED, 257)
    for number in range(1, 257):
        wire.signal(number, signal.SIGKILL, tree=True)
    for number in range(1, 257):
        assert wire.finish(number)["signal"] == signal.SIGKILL


def memory_of(agent: Agent) -> int:
    status = Path(f"/proc/{agent.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def test_50_megabytes_in_constant_memory(agent: Agent, wire: Wire) -> None:
    wire.run(1, "true")
    before = memory_of(agent)
    wire.start(2, "head", "-c", "50000000", "/dev/zero")
    peak, total = before, 0
    while True:
        frame = wire.receive()
        if frame.type == Message.EXITED:
            break
        if frame.type == Message.OUTPUT:
            total += len(frame.payload)
            wire.send(Message.ACK, 2, stream=STDOUT, offset=total)
            if total % 10 == 0:
                peak = max(peak, memory_of(agent))
    assert total == 50_000_000
    assert peak - before < 4_000, f"{peak - before} KiB"


def test_a_full_window_stops_the_program_not_the_agent(wire: Wire) -> None:
    wire.start(1, "sh", "-c", "head -c 2000000 /dev/zero; echo end")
    received = 0
    while received < WINDOW_BYTES:
        frame = wire.receive()
        received += len(frame.payload) if frame.type == Message.OUTPUT else 0
    assert received == WINDOW_BYTES
    wire.ask(Message.PING)
    assert wire.listed()[1][1] == 1
    wire.send(Message.ACK, 1, stream=STDOUT, offset=received)
    while received < 2_000_004:
        frame = wire.receive()
        received += len(frame.payload)
        wire.send(Message.ACK, 1, stream=STDOUT, offset=received)
    assert wire.expect(Message.EXITED, 1).u64("stdout_bytes") == 2_000_004


def test_disconnect_and_reattach_lose_no_byte(agent: Agent, wire: Wire) -> None:
    script = "for i in range(200000): print(i)"
    wire.start(1, "/usr/bin/python3", "-c", script)
    received = bytearray()
    while len(received) < 100_000:
        frame = wire.receive()
        if frame.type == Message.OUTPUT:
            received += frame.payload
    acknowledged = len(received) // 2
    wire.send(Message.ACK, 1, stream=STDOUT, offset=acknowledged)
    wire.ask(Message.PING)
    wire.close()
    time.sleep(0.1)
    again = agent.connect()
    assert again.listed()[1][1] == 1
    again.send(Message.ATTACH, 1, pack(Message.ATTACH, stdout_offset=acknowledged, stderr_offset=0))
    assert again.expect(Message.STARTED, 1).u64("already") == 1
    del received[acknowledged:]
    while True:
        frame = again.receive()
        if frame.type == Message.EXITED:
            break
        assert frame.offset == len(received)
        received += frame.payload
        again.send(Message.ACK, 1, stream=STDOUT, offset=len(received))
    assert received == b"".join(b"%d\n" % i for i in range(200_000))


def test_ended_while_nobody_listened(agent: Agent, wire: Wire) -> None:
    wire.start(1, "sh", "-c", "sleep 0.2; echo late; exit 9")
    wire.expect(Message.STARTED, 1)
    wire.close()
    again = agent.connect()
    eventually(lambda: again.listed()[1][1] == 2)
    for _ in range(2):  # replayed as often as asked
        again.send(Message.ATTACH, 1)
        assert again.finish(1, acknowledge=False, release=False).outcome == ("late\n", "", 9, 0)
    again.send(Message.RELEASE, 1)
    assert again.listed() == {}
    again.send(Message.ATTACH, 1)
    with pytest.raises(Refused, match="unknown_execution"):
        again.expect(Message.STARTED, 1)


def test_an_offset_that_is_not_kept_is_refused(wire: Wire) -> None:
    wire.start(1, "echo", "hello")
    wire.finish(1, release=False)
    wire.send(Message.ATTACH, 1, pack(Message.ATTACH, stdout_offset=2, stderr_offset=0))
    with pytest.raises(Refused, match="gone"):
        wire.expect(Message.STARTED, 1)


def test_standard_input(wire: Wire) -> None:
    assert wire.run(1, "cat").stdout == b""
    assert wire.run(2, "cat", stdin_data=b"fixed").stdout == b"fixed"
    big = bytes(range(256)) * 3000
    assert wire.run(3, "cat", stdin_data=big).stdout == big


def test_a_stream_of_input(wire: Wire) -> None:
    wire.start(1, "cat", stdin_open=1)
    wire.expect(Message.STARTED, 1)
    wire.send(Message.STDIN, 1, b"one ")
    wire.send(Message.STDIN, 1, b"one two ", offset=0)  # what it has already is dropped
    wire.send(Message.STDIN, 1, b"three", offset=8)
    wire.send(Message.STDIN_CLOSE, 1, offset=13)
    assert wire.finish(1).stdout == b"one two three"


def test_input_is_acknowledged_as_the_program_takes_it(wire: Wire) -> None:
    wire.start(1, "sh", "-c", "sleep 0.2; wc -c", stdin_open=1)
    wire.expect(Message.STARTED, 1)
    sent = acknowledged = 0
    total = 1_000_000
    while acknowledged < total:
        size = min(65536 - (sent - acknowledged), total - sent)
        if size > 0:
            wire.send(Message.STDIN, 1, b"x" * size, offset=sent)
            sent += size
        frame = wire.receive()
        assert frame.type == Message.STDIN_ACK
        acknowledged = frame.offset
    wire.send(Message.STDIN_CLOSE, 1, offset=sent)
    assert wire.finish(1).stdout == b"1000000\n"


def test_input_nobody_reads_is_swallowed(wire: Wire) -> None:
    wire.start(1, "sh", "-c", "exec <&-; sleep 0.5; echo fine", stdin_open=1)
    wire.expect(Message.STARTED, 1)
    time.sleep(0.2)
    wire.send(Message.STDIN, 1, b"x" * 60000)
    assert wire.finish(1).outcome == ("fine\n", "", 0, 0)


def test_too_much_input_ends_the_connection_only(agent: Agent, wire: Wire) -> None:
    wire.start(1, "sleep", "0.3", stdin_open=1)
    wire.expect(Message.STARTED, 1)
    wire.send(Message.STDIN, 1, b"x" * 200_000)
    with pytest.raises((EOFError, ConnectionError)):
        while True:
            wire.receive()
    assert 1 in agent.connect().listed()
