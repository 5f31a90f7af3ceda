"""Kernels that remember, and what one cell of them takes."""

from __future__ import annotations

import json
import subprocess
import time
from abc import ABC, abstractmethod
from itertools import count
from pathlib import Path

import vmpool
from bench.contenders.base import Contender
from bench.contenders.names import KERNEL
from bench.rest import Client
from bench.server import Server
from bench.spawn import LIKE_A_VM

_PROGRAM = Path(__file__).parent.parent / "floors" / "jupyter_cell.py"
_names = count()
_VERSIONS = """
from importlib.metadata import version
print(*(f"{name} {version(name)}" for name in ("ipykernel", "jupyter_client")))
"""
CELL = "x + 1"
VALUE = "42"


class Cells(Contender, ABC):
    """Has a kernel in which x is 41."""

    @abstractmethod
    def begin(self) -> None:
        """Start it."""

    @abstractmethod
    def cell(self) -> float:
        """Run `CELL` and see its value: seconds."""


class VMPoolCells(Cells):
    """A context, through the REST API."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self._server = server
        self._client = Client(server.address)
        backend = self._client.get("/api/vms/pool-status")["backend"]
        self.version = f"vmpool {vmpool.__version__}, {backend['name']} {backend['version']}"
        self._vm: int | None = None
        self._request = b""

    def begin(self) -> None:
        body = {"name": f"cells-{next(_names)}", "language": "python"}
        self._vm = self._client.post("/api/vms/create", body)["id"]
        path = f"/api/vms/{self._vm}/contexts"
        path = f"{path}/{self._client.post(path)['id']}/execute"
        self._client.post(path, {"code": "x = 41"})
        self._request = self._server.address.render("POST", path, {"code": CELL})

    def cell(self) -> float:
        started = time.perf_counter()
        answer = self._client.send_raw(self._request)
        elapsed = time.perf_counter() - started
        _check(json.loads(answer)["outputs"][0]["data"]["text/plain"])
        return elapsed

    def close(self) -> None:
        if self._vm is not None:
            self._client.delete(f"/api/vms/{self._vm}")
            self._vm = None


class JupyterKernel(Cells):
    """A kernel on the host, without a VM, through jupyter_client in a process that reads the clock."""

    name = KERNEL

    def __init__(self, interpreter: Path) -> None:
        self._interpreter = interpreter
        self._process: subprocess.Popen[bytes] | None = None
        self.version = subprocess.check_output([interpreter, "-c", _VERSIONS], text=True).strip()

    def begin(self) -> None:
        self._process = subprocess.Popen(
            [self._interpreter, _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=LIKE_A_VM,
            start_new_session=True,
        )
        if self._line() != "ready":
            raise RuntimeError("the kernel did not start")

    def cell(self) -> float:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        seconds, value = self._line().split()
        _check(value)
        return float(seconds)

    def _line(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()  # it ends its kernel and then itself
            process.wait(20)
            process.stdout.close()


def _check(value: str) -> None:
    if value != VALUE:
        raise ValueError(f"a cell's value is {value!r}")
