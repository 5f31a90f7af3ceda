"""A warm start does what a cold one does: every program here runs both ways and bare."""

# ruff: noqa: E501 - the programs below are tables, not text to be read

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import Agent, Launch, eventually
from tests.agent.wire import PATH, Refused, Result, Wire
from vmpool.agent.messages import Message
from vmpool.agent.warm_python import TEXT

PYTHON = "/usr/bin/python3"

PROGRAMS: dict[str, str | bytes] = {
    "plain": "print(1 + 1)",
    "argv": "import sys; print(sys.argv, sys.orig_argv, sys.path[0], sys.flags, sys.executable)",
    "main": "print(sorted(globals().items(), key=str)[0:0] or sorted(globals()), __name__, __file__, __spec__, "
    "__package__, type(__loader__).__name__, __doc__, __builtins__)",
    "docstring": '"""A docstring."""\nprint(__doc__)',
    "environment": "import os, subprocess; print(dict(os.environ), os.getcwd(), os.umask(0)); "
    "print(subprocess.run('env', capture_output=True, text=True).stdout)",
    "streams": "import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr, sys.__stdin__):\n"
    "    print(s, s.fileno(), s.isatty(), s.line_buffering, s.write_through, s.encoding, s.errors, s.newlines,\n"
    "          s.buffer, s.seekable(), s.buffer.raw, file=sys.stderr)",
    "stdin": "import sys\nprint(repr(sys.stdin.read()))\ntry:\n    input()\nexcept EOFError as e:\n    print(repr(e))",
    "modules": "import sys\nprint(list(sys.modules))",
    "exit-none": "import sys; sys.exit()",
    "exit-code": "import sys; sys.exit(300)",
    "exit-text": "import sys; sys.exit('a reason')",
    "exit-object": "raise SystemExit(1.5)",
    "exit-now": "import os; print('lost'); os._exit(9)",
    "uncaught": "def f(x):\n    return 1 / x\n\n\nf(0)",
    "chained": "try:\n    {}['a']\nexcept KeyError as e:\n    raise ValueError('second') from e",
    "context": "try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('second')",
    "group": "raise ExceptionGroup('many', [ValueError(1), TypeError(2)])",
    "custom-hook": "import sys\nsys.excepthook = lambda t, e, tb: print('hook', t, e, tb.tb_lineno, tb.tb_next)\n1/0",
    "broken-hook": "import sys\ndef hook(*a):\n    {}[1]\nsys.excepthook = hook\n1/0",
    "hook-exits": "import sys\nsys.excepthook = lambda *a: sys.exit(5)\n1/0",
    "interrupt": "raise KeyboardInterrupt",
    "sigint": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('never')",
    "sigterm": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "handlers": "import signal; print([signal.getsignal(s) for s in range(1, 32)][:5], signal.getsignal(2))",
    "syntax": "x = = 1",
    "indentation": "if True:\nprint(1)",
    "latin1": b"print('\xe9')",
    "cookie": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))",
    "bom": b"\xef\xbb\xbfprint('bom')",
    "null": b"print(1)\0",
    "warning": "import warnings\nprint(1 is 1)\nwarnings.warn('careful')",
    "warning-then-syntax": "1 is 1\nx = = 1",
    "atexit": "import atexit\natexit.register(print, 'last')\nprint('first')",
    "atexit-fails": "import atexit\natexit.register(lambda: 1/0)\nprint('first')",
    "finalizers": "class A:\n    def __del__(self): print('gone', __name__)\na = A()\nb = A(); b.b = b",
    "threads": "import threading, time\ndef f():\n    time.sleep(0.05); print('thread', threading.main_thread().name)\n"
    "threading.Thread(target=f).start()\nprint(threading.current_thread())".replace(
        "print(threading.current_thread())", "print(threading.current_thread().name)"
    ),
    "daemon-thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
    "unbuffered-order": "import os, sys\nprint('a'); os.write(1, b'b\\n'); print('c'); sys.stderr.write('d')",
    "closed-stdout": "import os, sys\nprint('x')\nos.close(1)",
    "surrogates": "import sys\nsys.stdout.buffer.write(bytes(range(256)))\nprint('\\udcff')",
    "big-output": "import sys\nsys.stdout.write('x' * 300000)",
    "fork": "import os\nif os.fork() == 0:\n    print('child'); raise SystemExit(3)\n"
    "print(os.waitstatus_to_exitcode(os.wait()[1]))",
    "multiprocessing-fork": "import multiprocessing as m\ndef f(x): return x * x\n"
    "if __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p: print(p.map(f, range(5)))",
    "multiprocessing-spawn": "import multiprocessing as m\ndef f(x): return x * x\n"
    "if __name__ == '__main__':\n    with m.get_context('spawn').Pool(1) as p: print(p.map(f, range(5)))",
    "pickle-main": "import pickle\nclass A: pass\nprint(pickle.loads(pickle.dumps(A())).__class__)",
    "dataclass": "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
    "print(P(1), P.__module__)",
    "no-future": "def f(x: undefined_name): pass",
    "sibling-import": "import helper_module; print(helper_module.VALUE, helper_module.__file__)",
    "import-main": "import __main__; print(__main__.__file__, __main__.__dict__ is globals())",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0.01); return 4\nprint(asyncio.run(f()))",
    "inspect-source": "import inspect\ndef f(): return 1\nprint(inspect.getsource(f), inspect.getmodule(f))",
    "limits": "import resource; print([resource.getrlimit(r) for r in (4, 7)])",
    "session": "import os; print(os.getsid(0) == os.getpid() == os.getpgid(0))",
    "descriptors": "import os; print(sorted(os.listdir('/proc/self/fd'), key=int)[:-1])",
    "gc": "import gc; print(gc.isenabled(), gc.get_threshold(), gc.garbage)",
    "deep": "import sys; print(sys.getrecursionlimit())",
    "recursion": "def f(): f()\nf()",
    "signal-mask": "import signal; print(signal.pthread_sigmask(0, []))",
    "subprocess": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(5)'], "
    "capture_output=True))",
    "site": "import site, sys; print(site.getsitepackages(), site.ENABLE_USER_SITE, sys.path[1:])",
    "random": "import random; print(len({random.random() for _ in range(3)}))",
    "localtime": "import time; print(time.tzname, time.localtime(0).tm_hour)",
    "input-loop": "import sys\nfor line in sys.stdin: print(line)",
}


def environment(agent: Agent) -> dict[str, str]:
    return {"PATH": PATH, "HOME": str(agent.home), "LANG": "C.UTF-8", "TZ": "UTC"}


def warm_up(agent: Agent, wire: Wire, spares: int = 2) -> None:
    wire.ask(
        Message.WARM,
        name="python",
        argv=[PYTHON.encode(), b"-c", TEXT.encode()],
        env=[f"{name}={value}".encode() for name, value in environment(agent).items()],
        strategy="fork",
        spares=spares,
    )


def start(
    agent: Agent,
    wire: Wire,
    number: int,
    program: str | bytes,
    *,
    env: Mapping[str, str] | None = None,
    name: str = "main.py",
    warm: bool = True,
    **fields: Any,
) -> None:
    wire.start(
        number,
        PYTHON,
        str(agent.home / name),
        "an argument",
        env={**environment(agent), **(env or {})},
        source_path=str(agent.home / name),
        source_data=program.encode() if isinstance(program, str) else program,
        warm="python" if warm else None,
        **fields,
    )


def run(agent: Agent, wire: Wire, number: int, program: str | bytes, **fields: Any) -> Result:
    start(agent, wire, number, program, **fields)
    return wire.finish(number)


def run_warm(agent: Agent, wire: Wire, program: str | bytes, first: int = 1, **fields: Any) -> Result:
    """Until a spare was ready."""
    for number in range(first, first + 1500):
        result = run(agent, wire, number, program, **fields)
        if result.warm:
            return result
        time.sleep(0.02)
    raise AssertionError("never warm")


def normal(text: str) -> str:
    """Without what differs from run to run: addresses, and the depth of a recursion."""
    return re.sub(r"repeated \d+ more", "repeated", re.sub(r"0x[0-9a-f]{6,}", "0x", text))


@pytest.fixture
def warm_agent(built: Path, launch: Launch) -> tuple[Agent, Wire]:
    agent = launch(built)
    wire = agent.connect()
    (agent.home / "helper_module.py").write_text("VALUE = 6\n")
    return agent, wire


@pytest.mark.parametrize("name", PROGRAMS)
def test_warm_is_cold_is_bare(warm_agent: tuple[Agent, Wire], name: str) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire, spares=1)
    program = PROGRAMS[name]
    source = agent.home / "main.py"
    source.write_bytes(program.encode() if isinstance(program, str) else program)
    bare = subprocess.run(
        ["/usr/bin/env", "--default-signal", PYTHON, str(source), "an argument"],
        env=environment(agent),
        cwd=agent.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        timeout=30,
    )
    cold = run(agent, wire, 1000, program, warm=False)
    warm = run_warm(agent, wire, program)
    assert not cold.warm
    assert [normal(part) if isinstance(part, str) else part for part in warm.outcome] == [
        normal(part) if isinstance(part, str) else part for part in cold.outcome
    ]
    if name != "streams":  # the same but for the numbers of inodes
        code = 128 + cold["signal"] if cold["signal"] else cold["status"]
        expected = 128 - bare.returncode if bare.returncode < 0 else bare.returncode
        assert (code, normal(cold.outcome[1])) == (expected, normal(bare.stderr.decode()))


def test_input_reaches_a_warm_program(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    program = "import sys; print(sys.stdin.buffer.read().upper(), sys.stdin.seekable())"
    assert run_warm(agent, wire, program, stdin_data=b"abc").stdout == b"b'ABC' False\n"
    eventually(lambda: run(agent, wire, 5000, "", stdin_data=b"").exited is not None)


def test_a_timeout_and_daemons_of_a_warm_program(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    result = run_warm(agent, wire, "import time; print('x', flush=True); time.sleep(100)", timeout_ms=300)
    assert (result["timed_out"], result["signal"], bytes(result.stdout)) == (1, signal.SIGKILL, b"x\n")
    result = run_warm(
        agent,
        wire,
        "import os, time\nif os.fork() == 0:\n    os.setsid(); time.sleep(100)\nprint('main')",
        2000,
    )
    assert result.stdout == b"main\n"


@pytest.mark.parametrize(
    "difference",
    [
        {"env": {"PYTHONHASHSEED": "0"}},
        {"env": {"LANG": "C"}},
        {"env": {"PATH": "/bin:/usr/bin"}},
        {"name": "main.txt"},
    ],
    ids=str,
)
def test_what_a_warm_start_cannot_be_is_cold(
    warm_agent: tuple[Agent, Wire], difference: dict[str, Any]
) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    run_warm(agent, wire, "")
    time.sleep(0.3)
    result = run(agent, wire, 5000, "print('ran')", **difference)
    assert (result.warm, bytes(result.stdout)) == (False, b"ran\n")


def test_a_missing_directory_fails_warm_as_cold(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    run_warm(agent, wire, "")
    time.sleep(0.3)
    with pytest.raises(Refused, match="not_found"):
        run(agent, wire, 5000, "print(1)", cwd="/no/such/directory")
    assert not (agent.home / "main.py").exists()


def interpreters(agent: Agent) -> list[int]:
    listed = subprocess.run(["ps", "axo", "pid=,ppid=,args="], capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    below = {agent.pid}
    for _ in range(4):
        below |= {int(pid) for pid, parent, _ in rows if int(parent) in below}
    return [int(pid) for pid, _, argv in rows if int(pid) in below and PYTHON in argv]


def test_killed_interpreters_cost_a_cold_start_only(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    run_warm(agent, wire, "")
    eventually(lambda: len(interpreters(agent)) == 3)
    killed = set(interpreters(agent))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    # A program given to a spare in the very moment it is killed dies with it, as any program would.
    eventually(lambda: not killed & set(interpreters(agent)))
    assert run(agent, wire, 5000, "print(1)").stdout == b"1\n"
    assert run_warm(agent, wire, "print(2)", 6000).stdout == b"2\n"


def test_packages_installed_since_are_seen(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    run_warm(agent, wire, "")
    version = subprocess.check_output(
        [PYTHON, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"], text=True
    ).strip()
    site = agent.home / ".local" / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (site / "late_package.py").write_text("VALUE = 7\n")
    (agent.home / "elsewhere").mkdir()
    (agent.home / "elsewhere" / "editable.py").write_text("VALUE = 8\n")
    (site / "late.pth").write_text(f"{agent.home / 'elsewhere'}\n")
    program = "import late_package, editable; print(late_package.VALUE, editable.VALUE)"
    for number in range(5000, 5010):
        assert run(agent, wire, number, program).outcome == ("7 8\n", "", 0, 0)
    assert run_warm(agent, wire, program, 6000).outcome == ("7 8\n", "", 0, 0)


def test_what_runs_at_a_start_is_seen_when_it_changes_in_place(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    version = subprocess.check_output(
        [PYTHON, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"], text=True
    ).strip()
    hook = agent.home / ".local" / "lib" / version / "site-packages" / "usercustomize.py"
    hook.parent.mkdir(parents=True)
    hook.write_text("import builtins; builtins.mark = 'old'\n")
    warm_up(agent, wire)
    assert run_warm(agent, wire, "print(mark)").stdout == b"old\n"
    hook.write_text("import builtins; builtins.mark = 'newer'\n")
    for number in range(5000, 5010):
        assert run(agent, wire, number, "print(mark)").stdout == b"newer\n"
    assert run_warm(agent, wire, "print(mark)", 6000).stdout == b"newer\n"


def test_the_first_spare_delays_no_cold_start(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    result = run(agent, wire, 1, "print(1)")
    assert (result.warm, bytes(result.stdout)) == (False, b"1\n")


def test_strategies_not_known_are_refused(warm_agent: tuple[Agent, Wire]) -> None:
    _, wire = warm_agent
    with pytest.raises(Refused, match="not_supported"):
        wire.ask(Message.WARM, name="x", argv=[b"node"], strategy="sleeping", spares=1)
    with pytest.raises(Refused, match="bad_request"):
        wire.ask(Message.WARM, name="x", strategy="fork", spares=1)


def test_an_interpreter_that_cannot_start_harms_nothing(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    wire.ask(
        Message.WARM, name="python", argv=[PYTHON.encode(), b"-c", b"1/0"], env=[], strategy="fork", spares=2
    )
    for number in range(1, 10):
        assert run(agent, wire, number, "print(1)").outcome == ("1\n", "", 0, 0)
        time.sleep(0.1)


def test_warm_ones_end_with_the_agent(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    run_warm(agent, wire, "")
    eventually(lambda: len(interpreters(agent)) == 3)
    pids = interpreters(agent)
    wire.ask(Message.SHUTDOWN, grace_ms=100)
    assert agent.wait() == 0
    eventually(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids))


def test_a_burst_waits_for_spares_rather_than_start_cold(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    run_warm(agent, wire, "")
    for number in range(6000, 6030):
        result = run(agent, wire, number, "print(1)")
        assert (result.warm, result.outcome) == (True, ("1\n", "", 0, 0))


def test_a_spare_that_does_not_come_is_not_waited_for_long(warm_agent: tuple[Agent, Wire]) -> None:
    agent, wire = warm_agent
    warm_up(agent, wire)
    run_warm(agent, wire, "")
    for number in range(7000, 7010):  # whoever is killed, and whenever: each of these runs
        victims = interpreters(agent)
        if victims:
            os.kill(victims[number % len(victims)], signal.SIGKILL)
        assert run(agent, wire, number, "print(1)").outcome == ("1\n", "", 0, 0)


SLOW_MAKER = r"""
import array, os, socket, time

control = socket.socket(fileno=3)
for made in range(1000):
    word, extra, *_ = control.recvmsg(16, socket.CMSG_SPACE(16))
    if not word:
        break
    ends = array.array("i", extra[0][2])
    if made == 2:
        time.sleep(2)
    job = os.pipe()
    between = os.fork()
    if between == 0:
        if os.fork() == 0:
            spare = os.fork()
            if spare == 0:
                os.close(job[1])
                for number in range(3):
                    os.dup2(ends[1 + number], number)
                text = b""
                while part := os.read(job[0], 65536):
                    text += part
                if text:
                    _, _, cwd, count, *words = text.split(b"\0")
                    os.chdir(cwd)
                    exec(open(words[1]).read())
                os._exit(0)
            os.dup2(job[1], 1)
            os.dup2(ends[0], 3)
            os.execve("/proc/self/fd/4", ["vmpool-agent", "supervise", "3", str(spare), "1"], {})
        os._exit(0)
    os.waitpid(between, 0)
    for descriptor in (*job, *ends):
        os.close(descriptor)
"""
"""Makes spares as the warm interpreter does, the third of them too late."""


@pytest.mark.parametrize("ended", [False, True])
def test_a_spare_that_comes_too_late_runs_nothing(warm_agent: tuple[Agent, Wire], ended: bool) -> None:
    agent, wire = warm_agent
    wire.ask(
        Message.WARM,
        name="python",
        argv=[PYTHON.encode(), b"-c", SLOW_MAKER.encode()],
        env=[f"{name}={value}".encode() for name, value in environment(agent).items()],
        strategy="fork",
        spares=1,
    )
    run_warm(agent, wire, "")
    run_warm(agent, wire, "", 1000)
    time.sleep(0.3)  # the third is being made
    start(agent, wire, 5000, "import time\nprint('x', file=open('ran', 'a'))\ntime.sleep(3)")
    if ended:
        wire.signal(5000, signal.SIGKILL, tree=True)
    result = wire.finish(5000)
    assert (result.warm, result["signal"]) == (False, signal.SIGKILL if ended else 0)
    if not ended:
        assert (agent.home / "ran").read_text() == "x\n"
