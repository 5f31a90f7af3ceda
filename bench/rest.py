"""The plainest HTTP client there is: one keep-alive connection, nothing between the caller and the socket."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import Any

from bench.load import Line

IDLE_SECONDS = 30.0
"""An idle connection is made anew after this long: the server may have closed it by then."""
TIMEOUT = 120.0
"""Seconds for one piece of an answer."""


@dataclass(frozen=True)
class Address:
    """A server: where it listens and a key for it."""

    host: str
    port: int
    key: str = ""

    @property
    def url(self) -> str:
        """Base of every request."""
        return f"http://{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        """A connection that sends at once."""
        connection = socket.create_connection((self.host, self.port), timeout=TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def render(self, method: str, path: str, body: object = None, accept: str = "*/*") -> bytes:
        """The bytes of a request, so that a loop need not make them anew."""
        payload = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Authorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nAccept: {accept}\r\n"
            f"Content-Length: {len(payload)}\r\n\r\n"
        )
        return head.encode() + payload

    def line(self, request: bytes, expected: bytes) -> Line:
        """A line for `bench.load.drive`: right is an answer of status 200 that has `expected` in it."""

        def parse(buffer: bytearray) -> tuple[int, bool] | None:
            length = answer_length(buffer)
            if length is None:
                return None
            return length, buffer.startswith(b"HTTP/1.1 200") and buffer.find(expected, 0, length) >= 0

        return Line(self.connect, request, parse)


def answer_length(buffer: bytearray) -> int | None:
    """Bytes of the first answer in `buffer`, head and body, or None while it is incomplete."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(buffer[:end]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        total = end + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0])
        return total if len(buffer) >= total else None
    if b"\r\ntransfer-encoding: chunked" in head:
        last = buffer.find(b"\r\n0\r\n\r\n", end + 2)
        return None if last < 0 else last + 7
    return end + 4


class RequestFailed(Exception):
    """An answer of 400 or more."""


class Client:
    """One keep-alive connection; not for several threads at once."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._buffer = bytearray()
        self._connect()

    def _connect(self) -> None:
        self._socket = self.address.connect()
        self._used = time.monotonic()

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def get(self, path: str) -> Any:
        """The answer's JSON."""
        return self.send(self.address.render("GET", path))

    def post(self, path: str, body: object = None) -> Any:
        """The answer's JSON."""
        return self.send(self.address.render("POST", path, body))

    def delete(self, path: str) -> None:
        """DELETE it."""
        self.send(self.address.render("DELETE", path))

    def send(self, request: bytes) -> Any:
        """One round trip: the answer's JSON."""
        body = self.send_raw(request)
        return json.loads(body) if body else None

    def send_raw(self, request: bytes) -> bytes:
        """One round trip: the answer's body; RequestFailed with its text from status 400 on."""
        return self.send_timed(request, b"")[0]

    def send_timed(self, request: bytes, mark: bytes) -> tuple[bytes, float]:
        """As `send_raw`, and the seconds after which `mark`, or all of it, had arrived."""
        marked = 0.0
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._socket.close()
            self._connect()
        self._used = time.monotonic()
        started = time.perf_counter()
        self._socket.sendall(request)
        while (length := answer_length(self._buffer)) is None:
            self._fill()
            if mark and not marked and mark in self._buffer:
                marked = time.perf_counter() - started
        marked = marked or time.perf_counter() - started
        answer = bytes(self._buffer[:length])
        del self._buffer[:length]
        head, _, body = answer.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head.lower():
            body = unchunked(body)
        if int(head[9:12]) >= 400:
            raise RequestFailed(f"{head[9:12].decode()}: {body.decode(errors='replace')}")
        return body, marked

    def _fill(self) -> None:
        data = self._socket.recv(1 << 20)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data


def unchunked(body: bytes) -> bytes:
    """The content of a complete chunked body."""
    pieces: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        size = int(body[at:end].split(b";")[0], 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size
