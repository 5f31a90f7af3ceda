"""The floors: `bench.floors` as contenders."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.contenders.base import Loads
from bench.contenders.names import FORKING, ONE_ROW
from bench.figures import Figures
from bench.load import Line, drive
from bench.program import PYTHON, check
from bench.rest import Address, Client
from bench.spawn import LIKE_A_VM

_PROGRAMS = Path(__file__).parent.parent / "floors"
_START_SECONDS = 20.0


class _Floor(Loads):
    """Processes of its own in a directory of its own."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="vmpool-bench-")
        self._processes: list[subprocess.Popen[bytes]] = []

    def release(self) -> None:
        """They cost nothing while nobody asks."""

    def _start(self, *argv: str) -> None:
        self._processes.append(
            subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, env=LIKE_A_VM)
        )

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        self._directory.cleanup()


class Forking(_Floor):
    """One warm interpreter for each sandbox, behind a unix socket."""

    name = FORKING
    divisor = True

    def __init__(self, interpreter: str) -> None:
        super().__init__()
        self._interpreter = interpreter
        self.version = subprocess.check_output([interpreter, "--version"], text=True).strip()
        self._paths: list[str] = []
        self._connections: list[socket.socket] = []
        code = PYTHON.code.encode()
        self._request = len(code).to_bytes(4, "big") + code

    def prepare(self, sandboxes: int) -> None:
        while len(self._paths) < sandboxes:
            path = str(Path(self._directory.name, str(len(self._paths))))
            self._start(self._interpreter, str(_PROGRAMS / "forking.py"), path)
            _await(partial(_answers, path))
            self._paths.append(path)
            self._connections.append(_dial(path))
            self.execute(len(self._paths) - 1)

    def execute(self, sandbox: int) -> float:
        connection = self._connections[sandbox]
        buffer = bytearray()
        started = time.perf_counter()
        connection.sendall(self._request)
        while (answer := _parse(buffer)) is None:
            buffer += connection.recv(1 << 16)
        elapsed = time.perf_counter() - started
        check(buffer[4 : answer[0]].decode())
        return elapsed

    def load(self, in_flight: int, seconds: float) -> Figures:
        paths = [self._paths[number % len(self._paths)] for number in range(in_flight)]
        lines = [Line(partial(_dial, path), self._request, _parse) for path in paths]
        return drive(lines, seconds)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        self._connections.clear()
        self._paths.clear()
        super().close()


class OneRow(_Floor):
    """An endpoint that writes a row; what a REST API with a history costs before anything is run."""

    name = ONE_ROW

    def __init__(self) -> None:
        super().__init__()
        self.version = ", ".join(f"{name} {version(name)}" for name in ("fastapi", "uvicorn", "uvloop"))
        self._client: Client | None = None

    def prepare(self, sandboxes: int) -> None:
        if self._client is not None:
            return
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._address = Address("127.0.0.1", port)
        self._start(
            sys.executable,
            str(_PROGRAMS / "one_row.py"),
            str(Path(self._directory.name, "rows.db")),
            str(port),
        )
        _await(lambda: self._address.connect().close())
        self._client = Client(self._address)
        self._request = self._address.render("POST", "/api/vms/1/execute", {"code": PYTHON.code})
        self.execute(0)

    def execute(self, sandbox: int) -> float:
        if self._client is None:
            raise RuntimeError("not prepared")
        started = time.perf_counter()
        answer = self._client.send_raw(self._request)
        elapsed = time.perf_counter() - started
        check(json.loads(answer)["output"])
        return elapsed

    def load(self, in_flight: int, seconds: float) -> Figures:
        return drive([self._address.line(self._request, b'"output":"2\\n"')] * in_flight, seconds)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        super().close()


def _parse(buffer: bytearray) -> tuple[int, bool] | None:
    if len(buffer) < 4:
        return None
    length = 4 + int.from_bytes(buffer[:4], "big")
    if len(buffer) < length:
        return None
    return length, buffer[4:length] == b"2\n"


def _dial(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _await(attempt: Callable[[], object]) -> None:
    """Until it no longer raises OSError."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            attempt()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _answers(path: str) -> None:
    _dial(path).close()
