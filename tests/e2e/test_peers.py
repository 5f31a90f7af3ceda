"""What others in this field get wrong, each as a test on each real backend.

Seen in released sandboxes: no limits unless asked for, output merged or lost or raising, runs that come back
empty when started at once, timeouts after which the program goes on, sandboxes unusable after one.
"""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.e2e.pools import Pool
from vmpool import VMHandle

MB = 1 << 20


@pytest.fixture
def vm(pool: Pool) -> VMHandle:
    return pool.client.create_vm("peer", "python")


def test_output_that_is_not_utf8(vm: VMHandle) -> None:
    r"""Two peers raise on b"\xff"."""
    run = vm.execute(
        "import sys; sys.stdout.buffer.write(b'a\\xff\\xfeb'); sys.stderr.buffer.write(b'\\x80')"
    )
    assert (run.exit_code, run.output, run.error) == (0, "a\ufffd\ufffdb", "\ufffd")


def test_streams_are_apart_and_the_exit_code_is_kept(vm: VMHandle) -> None:
    """One peer merges the streams, another loses the exit code."""
    run = vm.execute("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert (run.output, run.error, run.exit_code) == ("out\n", "err\n", 7)


@pytest.mark.timeout(120)
def test_fifty_megabytes_of_output(pool: Pool, vm: VMHandle) -> None:
    """One peer takes 19 s, one silently keeps 321 characters; a cap must not look like a kill."""
    server = psutil.Process(pool.server_pid)
    vm.execute("print('x' * 1000)")
    before = server.memory_info().rss
    run = vm.execute(
        "import sys\nfor _ in range(50): sys.stdout.write('x' * (1 << 20))\nsys.stderr.write('end')"
    )
    assert run.exit_code == 0
    assert run.truncated
    assert run.error == "end"
    assert run.output.count("x") == MB  # its beginning and its end, and a line between that says so
    assert len(run.output) < MB + 100
    assert server.memory_info().rss - before < 32 * MB


def test_the_same_code_ten_times_at_once(vm: VMHandle) -> None:
    """One peer names a file after the code's hash: runs at once come back empty with exit 0."""
    code = "import os, time; time.sleep(0.2); print('done', os.getpid())"
    with ThreadPoolExecutor(10) as threads:
        runs = [run.result() for run in [threads.submit(vm.execute, code) for _ in range(10)]]
    assert all(run.exit_code == 0 and run.output.startswith("done ") for run in runs)
    assert len({run.output for run in runs}) == 10


def test_executions_in_one_vm_do_not_wait_for_one_another(vm: VMHandle) -> None:
    """Ten that wait for each other end only if they run at once."""
    meet = (
        "import os, pathlib, time\n"
        "pathlib.Path('here-%d' % os.getpid()).touch()\n"
        "while len(list(pathlib.Path('.').glob('here-*'))) < 10: time.sleep(0.01)\n"
    )
    with ThreadPoolExecutor(10) as threads:
        runs = [run.result() for run in [threads.submit(vm.execute, meet, timeout=30) for _ in range(10)]]
    assert [run.exit_code for run in runs] == [0] * 10


def test_a_timeout_ends_everything_the_program_started(vm: VMHandle) -> None:
    """With one peer the program goes on after its timeout; with another the session is unusable."""
    marked = "vmpool-timeout-marker"
    run = vm.execute(
        "import subprocess, sys, time\n"
        f"subprocess.Popen(['setsid', 'sh', '-c', 'while :; do sleep 0.1; done', {marked!r}])\n"
        f"subprocess.Popen(['sh', '-c', '(setsid sh -c \"while :; do sleep 0.1; done\" {marked} &) &'])\n"
        "print('begun', flush=True)\n"
        "time.sleep(60)\n",
        timeout=1,
    )
    assert (run.timed_out, run.output) == (True, "begun\n")
    left = vm.execute(
        "import pathlib\n"
        "lines = [p.read_bytes() for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')]\n"
        f"print(sum({marked!r}.encode() in line for line in lines))"
    )
    assert (left.exit_code, left.output) == (0, "0\n")


@pytest.mark.timeout(120)
def test_ten_created_at_once_all_answer(pool: Pool) -> None:
    """One peer's parallel starts hang and leave containers."""
    with ThreadPoolExecutor(10) as threads:
        made = [threads.submit(pool.client.create_vm, f"at-once-{n}", "python") for n in range(10)]
        runs = [threads.submit(vm.result().execute, "print(6 * 7)") for vm in made]
        assert [run.result().output for run in runs] == ["42\n"] * 10
    for vm in made:
        vm.result().delete()
    assert pool.client.list_vms() == []


def test_a_new_vm_holds_nothing_of_an_earlier_one(pool: Pool) -> None:
    """One peer's pool hands a used container on, with the last user's file in /tmp and live process."""
    first = pool.client.create_vm("first", "bash")
    first.execute("echo secret > /tmp/left; echo secret > ~/left; setsid sleep 100 >/dev/null 2>&1 &")
    first.delete()
    second = pool.client.create_vm("first", "bash")
    run = second.execute("ls -A /tmp ~; ps -e 2>/dev/null | grep -c sleep")
    assert "left" not in run.output
    assert "secret" not in run.output


def test_walls_stand_without_being_asked_for(vm: VMHandle) -> None:
    """All peers by default: root, all of Docker's capabilities, a bridge network, no limit."""
    run = vm.execute(
        "import json, os, pathlib\n"
        "status = dict(l.split(':', 1) for l in pathlib.Path('/proc/self/status').read_text().splitlines())\n"
        "print(json.dumps({\n"
        "    'uid': os.getuid(),\n"
        "    'caps': [int(status[k], 16) for k in ('CapEff', 'CapPrm', 'CapInh', 'CapAmb', 'CapBnd')],\n"
        "    'no_new_privs': status['NoNewPrivs'].strip(),\n"
        "    'seccomp': status['Seccomp'].strip(),\n"
        "    'interfaces': sorted(p.name for p in pathlib.Path('/sys/class/net').glob('*'))\n"
        "        or [l.split(':')[0].strip() for l in open('/proc/net/dev').read().splitlines()[2:]],\n"
        "}))"
    )
    seen = json.loads(run.output)
    assert seen["uid"] == 1000
    assert seen["caps"] == [0] * 5
    assert (seen["no_new_privs"], seen["seccomp"]) == ("1", "2")
    assert set(seen["interfaces"]) <= {"lo", "tunl0", "sit0", "ip6tnl0", "ip_vti0", "ip6_vti0", "gre0"}


def test_a_memory_hog_is_ended_and_the_vm_lives(pool: Pool) -> None:
    hog = pool.client.create_vm("hog", "python", memory_limit=128)
    run = hog.execute("x = bytearray(b'x') * (1 << 30); print('got it all')", timeout=60)
    assert run.exit_code != 0
    assert "got it all" not in run.output
    assert hog.execute("print('alive')").output == "alive\n"


def test_processes_are_limited(vm: VMHandle) -> None:
    run = vm.execute(
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    while made < 2000:\n"
        "        if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "        made += 1\n"
        "except OSError: pass\n"
        "print(made)",
        timeout=60,
    )
    assert int(run.output) < 600
    assert vm.execute("print('alive')").output == "alive\n"


def test_no_vm_listens_on_the_host(vm: VMHandle) -> None:
    """One peer publishes its port on every interface."""
    started = vm.execute(
        "import socket\n"
        "s = socket.create_server(('0.0.0.0', 18765))\n"
        "print(s.getsockname()[1])\n"
        "c = socket.create_connection(('127.0.0.1', 18765)); print('reached from inside')\n"
    )
    assert started.output == "18765\nreached from inside\n"
    listening = {
        connection.laddr.port
        for connection in psutil.net_connections("inet")
        if connection.laddr and connection.status == psutil.CONN_LISTEN
    }
    assert 18765 not in listening
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 18765)) != 0
