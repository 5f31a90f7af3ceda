"""A vmpool server of its own in a temporary state directory, and the plainest HTTP client there is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IDLE_SECONDS = 30.0
"""An idle connection is made anew after this long."""


@dataclass(frozen=True)
class Server:
    """A running server: where it listens and its owner's key."""

    host: str
    port: int
    key: str
    pid: int

    @property
    def url(self) -> str:
        """Base of every request."""
        return f"http://{self.host}:{self.port}"


@contextmanager
def running_server(backend: str, **settings: str) -> Iterator[Server]:
    """`vm serve` on `backend`; ended, with its VMs deleted, on the way out.

    settings: further `VMPOOL_*` variables, without the prefix.
    """
    with tempfile.TemporaryDirectory(prefix="vmpool-bench-") as directory:
        environment = {
            **os.environ,
            "VMPOOL_STATE_DIR": directory,
            "VMPOOL_BACKEND": backend,
            "VMPOOL_LISTEN__PORT": "0",
            **{f"VMPOOL_{name.upper()}": value for name, value in settings.items()},
        }
        log = Path(directory, "bench.log")
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "vmpool.cli", "serve"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        try:
            server = _await_ready(process, Path(directory), log)
            try:
                yield server
            finally:
                with Client(server) as client:
                    for vm in client.get("/api/vms?limit=100"):
                        client.delete(f"/api/vms/{vm['id']}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def _await_ready(process: subprocess.Popen[bytes], directory: Path, log: Path) -> Server:
    deadline = time.monotonic() + 60
    announcement = directory / "server.json"
    while time.monotonic() < deadline and process.poll() is None:
        if announcement.exists() and (text := announcement.read_text()):
            url = json.loads(text)["url"].removeprefix("http://")
            host, _, port = url.rpartition(":")
            key = (directory / "owner.key").read_text().strip()
            return Server(host, int(port), key, process.pid)
        time.sleep(0.02)
    raise RuntimeError("the server did not start:\n" + log.read_text()[-2000:])


class RequestFailed(Exception):
    """An answer of 400 or more."""


class Client:
    """One keep-alive connection with nothing between the caller and the socket."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection((self._server.host, self._server.port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._used = time.monotonic()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._socket.close()

    def get(self, path: str) -> Any:
        """The answer's JSON."""
        return self.send(self.render("GET", path))

    def post(self, path: str, body: object = None) -> Any:
        """The answer's JSON."""
        return self.send(self.render("POST", path, body))

    def delete(self, path: str) -> Any:
        """None."""
        return self.send(self.render("DELETE", path))

    def render(self, method: str, path: str, body: object = None) -> bytes:
        """The bytes of a request, so that a loop need not make them anew."""
        payload = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._server.host}\r\n"
            f"Authorization: Bearer {self._server.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        return head.encode() + payload

    def send(self, request: bytes) -> Any:
        """One round trip; RequestFailed with the answer's text from status 400 on."""
        if time.monotonic() - self._used > IDLE_SECONDS:  # the server may have closed it by now
            self._socket.close()
            self._connect()
        self._used = time.monotonic()
        self._socket.sendall(request)
        head, body = self._read_answer()
        status = int(head[9:12])
        if status >= 400:
            raise RequestFailed(f"{status}: {body.decode(errors='replace')}")
        return json.loads(body) if body else None

    def _read_answer(self) -> tuple[bytes, bytes]:
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._fill()
        head = bytes(self._buffer[:end])
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        total = end + 4 + length
        while len(self._buffer) < total:
            self._fill()
        body = bytes(self._buffer[end + 4 : total])
        del self._buffer[:total]
        return head, body

    def _fill(self) -> None:
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data
