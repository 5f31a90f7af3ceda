"""The real agent: as it is shipped and with sanitizers, as an ordinary process and as PID 1."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.wire import Wire
from tests.unit.agent.agents import in_own_network
from vmpool.agent import binary

SOURCES = Path(__file__).resolve().parents[2] / "agent"
SANITIZED = SOURCES / "build" / "vmpool-agent-sanitized"


@pytest.fixture(scope="session")
def built() -> Path:
    """The agent as it is shipped, up to date with its sources."""
    subprocess.run(["make", "-C", str(SOURCES)], check=True, capture_output=True, timeout=300)
    return binary.path()


@pytest.fixture(scope="session")
def sanitized() -> Path:
    subprocess.run(["make", "-C", str(SOURCES), "sanitize"], check=True, capture_output=True, timeout=300)
    return SANITIZED


@pytest.fixture(params=["shipped", "sanitized"])
def agent_binary(request: pytest.FixtureRequest) -> Path:
    fixture = {"shipped": "built", "sanitized": "sanitized"}[request.param]
    path: Path = request.getfixturevalue(fixture)
    return path


class Agent:
    """One running agent.  `home` is its home directory, `pid` its process on this side."""

    def __init__(
        self, program: Path, directory: Path, *options: str, pid_one: bool, network: bool = False
    ) -> None:
        self.pid_one = pid_one
        self.home = directory / "home"
        self.home.mkdir()
        self.path = directory / "agent.sock"
        self.errors = directory / "stderr"
        self._open = ExitStack()
        listener = self._open.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(self.path))
        listener.listen(128)
        argv = [str(program), "--listen-fd", str(listener.fileno()), "--home", str(self.home), *options]
        if network:
            argv = in_own_network(argv)
        elif pid_one:
            user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
            argv = ["unshare", *user, "--pid", "--fork", "--kill-child", "--mount-proc", *argv]
        self.process = subprocess.Popen(
            argv,
            pass_fds=(listener.fileno(),),
            stdin=subprocess.DEVNULL,
            stderr=self._open.enter_context(self.errors.open("wb")),
            env={
                "PATH": os.environ["PATH"],
                "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=1",
            },
        )
        listener.close()

    @property
    def pid(self) -> int:
        """The agent itself, whichever namespace it is in."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if self.pid_one and children else self.process.pid

    def connect(self, *, hello: bool = True) -> Wire:
        wire = Wire(self.path, hello=hello)
        self._open.callback(wire.close)
        return wire

    def wait(self, timeout: float = 10) -> int:
        return self.process.wait(timeout)

    def close(self) -> None:
        self._open.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if self.pid_one else signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        complaints = self.errors.read_text()
        assert "ERROR:" not in complaints and "runtime error" not in complaints, complaints


Launch = Callable[..., Agent]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start agents that end with the test."""
    with ExitStack() as stack:
        count = 0

        def start(program: Path, *options: str, pid_one: bool = False, network: bool = False) -> Agent:
            nonlocal count
            count += 1
            directory = tmp_path / f"agent{count}"
            directory.mkdir()
            agent = Agent(program, directory, *options, pid_one=pid_one, network=network)
            stack.callback(agent.close)
            return agent

        yield start


@pytest.fixture(params=["process", "pid-one"])
def agent(request: pytest.FixtureRequest, agent_binary: Path, launch: Launch) -> Agent:
    if request.param == "pid-one" and shutil.which("unshare") is None:
        pytest.fail("unshare is needed: it is part of util-linux")
    return launch(agent_binary, pid_one=request.param == "pid-one")


@pytest.fixture
def pid_one(built: Path, launch: Launch) -> Agent:
    return launch(built, pid_one=True)


@pytest.fixture
def netted(agent_binary: Path, launch: Launch) -> Agent:
    """In a network namespace of its own, where every address leads to it."""
    return launch(agent_binary, network=True)


@pytest.fixture
def wire(agent: Agent) -> Wire:
    return agent.connect()


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it holds; fails if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)
