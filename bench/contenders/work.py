"""A sandbox as a place to work in: files in and out, and the beginning of an output."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from functools import partial
from itertools import count
from pathlib import Path

import vmpool
from bench.contenders.base import Contender
from bench.contenders.docker import IMAGE, LABEL, PYTHON3, docker_program
from bench.contenders.names import DOCKER_WORK
from bench.figures import Figures
from bench.load import at_once
from bench.program import PYTHON, check
from bench.rest import Client
from bench.server import Server
from bench.spawn import output_of

PIECE_BYTES = 1 << 20
DISK_MB = 2048
"""Of a VM: room for the files."""
FIRST = "begun"
EARLY = f"import sys, time\nprint({FIRST!r}, flush=True)\ntime.sleep(0.02)\n"
"""Has something to say long before it ends."""
PACKAGE = "requests"
_names = count()


class Works(Contender, ABC):
    """Has one sandbox that stands ready."""

    @abstractmethod
    def begin(self) -> None:
        """Make it."""

    @abstractmethod
    def upload(self, source: Path) -> float:
        """A file of the host's into it: seconds."""

    @abstractmethod
    def download(self, target: Path) -> float:
        """The same file back to the host: seconds."""

    @abstractmethod
    def first_byte(self) -> float:
        """Seconds until a program's first output is here, while it goes on."""


class VMPoolWork(Works):
    """Through the REST API."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self._server = server
        self._client = Client(server.address)
        backend = self._client.get("/api/vms/pool-status")["backend"]
        self.version = f"vmpool {vmpool.__version__}, {backend['name']} {backend['version']}"
        self._vm: int | None = None

    def begin(self) -> None:
        body = {"name": f"work-{next(_names)}", "language": "python", "disk_limit": DISK_MB}
        self._vm = self._client.post("/api/vms/create", body)["id"]
        self._answered(self._client, self._vm)

    def upload(self, source: Path) -> float:
        started = time.perf_counter()
        with self._server.address.connect() as connection, source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            connection.sendall(self._head("PUT", f"Content-Length: {size}\r\n"))
            connection.sendfile(file)
            head, _ = _head_of(connection)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ValueError(head.decode(errors="replace"))
        return time.perf_counter() - started

    def download(self, target: Path) -> float:
        started = time.perf_counter()
        with self._server.address.connect() as connection, target.open("wb", buffering=0) as file:
            connection.sendall(self._head("GET"))
            head, begun = _head_of(connection)
            if not head.startswith(b"HTTP/1.1 200"):
                raise ValueError(head.decode(errors="replace"))
            file.write(begun)
            piece = memoryview(bytearray(PIECE_BYTES))
            while got := connection.recv_into(piece):
                file.write(piece[:got])
        return time.perf_counter() - started

    def _head(self, method: str, further: str = "") -> bytes:
        address = self._server.address
        return (
            f"{method} /api/vms/{self._vm}/files?path=blob HTTP/1.1\r\nHost: {address.host}\r\n"
            f"Authorization: Bearer {address.key}\r\nConnection: close\r\n{further}\r\n"
        ).encode()

    def first_byte(self) -> float:
        request = self._server.address.render(
            "POST", f"/api/vms/{self._vm}/execute", {"code": EARLY}, accept="text/event-stream"
        )
        answer, first = self._client.send_timed(request, FIRST.encode())
        if FIRST.encode() not in answer:
            raise ValueError(answer.decode(errors="replace"))
        return first

    def forked(self, number: int) -> Figures:
        """`number` copies of the VM at once, each of which answers: `wall`."""
        started = time.perf_counter()
        made = self._client.post(f"/api/vms/{self._vm}/fork", {"count": number})
        figures = self._all_answer([vm["id"] for vm in made])
        return figures | {"wall": time.perf_counter() - started}

    def installed(self) -> float:
        """Seconds of `pip install requests` in a VM of its own, and that a program has it."""
        with Client(self._server.address) as client:
            body = {"name": f"installs-{next(_names)}", "language": "python"}
            vm = client.post("/api/vms/create", body)["id"]
            try:
                self._answered(client, vm)
                started = time.perf_counter()
                done = client.post(f"/api/vms/{vm}/execute", {"packages": [PACKAGE]})
                elapsed = time.perf_counter() - started
                if done["exit_code"] != 0:
                    raise ValueError(done["error"])
                code = f"import {PACKAGE}\n{PYTHON.code}"
                check(client.post(f"/api/vms/{vm}/execute", {"code": code})["output"])
            finally:
                client.delete(f"/api/vms/{vm}")
        return elapsed

    @property
    def server(self) -> Server:
        """What it talks to."""
        return self._server

    def snapshots(self, unchanged: int, rounds: int) -> list[float]:
        """Seconds of each snapshot of a VM of its own in which 1 MB has changed since the one before.

        unchanged: bytes of files that stay as they are.  The VM was restored from a snapshot that has them.
        """
        body = {"name": f"keeps-{next(_names)}", "language": "python", "disk_limit": DISK_MB}
        vm = self._client.post("/api/vms/create", body)["id"]
        try:
            self._written(vm, "unchanged", unchanged)
            kept = self._client.post(f"/api/vms/{vm}/snapshot", {})["id"]
            self._client.post(f"/api/vms/{vm}/restore", {"snapshot_id": kept})
            took = []
            for _ in range(rounds):
                self._written(vm, "changed", PIECE_BYTES)
                started = time.perf_counter()
                self._client.post(f"/api/vms/{vm}/snapshot", {})
                took.append(time.perf_counter() - started)
        finally:
            for kept in self._client.get(
                f"/api/vms/{vm}/snapshots?limit=100"
            ):  # now: the server is about to end
                self._client.delete(f"/api/vms/{vm}/snapshots/{kept['id']}")
            self._client.delete(f"/api/vms/{vm}")
        return took

    def _written(self, vm: int, name: str, size: int) -> None:
        code = (
            f"import os\nwith open({name!r}, 'wb') as file:\n"
            f"    for _ in range({size // PIECE_BYTES}):\n        file.write(os.urandom({PIECE_BYTES}))\n"
        )
        done = self._client.post(f"/api/vms/{vm}/execute", {"code": code, "timeout": 300})
        if done["exit_code"] != 0:
            raise ValueError(done["error"])

    def plain(self, number: int) -> Figures:
        """`number` VMs from nothing at once, each of which answers: `wall`."""
        made: list[int] = []

        def one() -> None:
            with Client(self._server.address) as client:
                body = {"name": f"plain-{next(_names)}", "language": "python", "disk_limit": DISK_MB}
                made.append(client.post("/api/vms/create", body)["id"])
                self._answered(client, made[-1])

        try:
            return at_once([one] * number)
        finally:
            for vm in made:
                self._client.delete(f"/api/vms/{vm}")

    def _all_answer(self, vms: list[int]) -> Figures:
        clients = [Client(self._server.address) for _ in vms]
        try:
            return at_once(
                [partial(self._answered, client, vm) for client, vm in zip(clients, vms, strict=True)]
            )
        finally:
            for client, vm in zip(clients, vms, strict=True):
                client.close()
                self._client.delete(f"/api/vms/{vm}")

    @staticmethod
    def _answered(client: Client, vm: int) -> None:
        check(client.post(f"/api/vms/{vm}/execute", {"code": PYTHON.code})["output"])

    def close(self) -> None:
        if self._vm is not None:
            self._client.delete(f"/api/vms/{self._vm}")
            self._vm = None


def _head_of(connection: socket.socket) -> tuple[bytes, bytes]:
    """An answer's head, and what came with it of the body."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionError("the server closed the connection")
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    return head, body


class DockerWork(Works):
    """`docker cp` and `docker exec`."""

    name = DOCKER_WORK
    settle = 0.05

    def __init__(self) -> None:
        self._docker = docker_program() or "docker"
        self._container = ""

    def begin(self) -> None:
        command = ["run", "-d", "--label", LABEL, "--entrypoint", "sleep", IMAGE, "3600"]
        self._container = output_of([self._docker, *command]).strip()
        self.first_byte()

    def upload(self, source: Path) -> float:
        return self._copied(str(source), f"{self._container}:/home/blob")

    def download(self, target: Path) -> float:
        return self._copied(f"{self._container}:/home/blob", str(target))

    def _copied(self, source: str, target: str) -> float:
        started = time.perf_counter()
        output_of([self._docker, "cp", source, target])
        return time.perf_counter() - started

    def first_byte(self) -> float:
        started = time.perf_counter()
        command = [self._docker, "exec", self._container, PYTHON3, "-c", EARLY]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
            assert running.stdout is not None
            first = running.stdout.readline()
            elapsed = time.perf_counter() - started
        check(first.decode().replace(FIRST, PYTHON.expected))
        return elapsed

    def close(self) -> None:
        container, self._container = self._container, ""
        if container:
            output_of([self._docker, "rm", "-f", container])
