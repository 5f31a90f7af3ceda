"""Sending calls over real sockets: kept connections, broken ones, refusals, nobody at the address."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import pytest

from vmpool.client import AsyncClient, Client
from vmpool.client._async.connection import AsyncConnection
from vmpool.client.errors import (
    ClientError,
    PoolFull,
    ServerUnreachable,
    Unauthenticated,
    UnexpectedAnswer,
)
from vmpool.client.local import Address
from vmpool.client.wire import Call

HEALTH = {"status": "ok", "version": "1"}


def _answer(status: int, body: object, **headers: str) -> bytes:
    payload = json.dumps(body).encode()
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(payload)}\r\n{fields}\r\n".encode() + payload


NO_KEY = _answer(401, {"code": "unauthenticated", "detail": "no key"})


def _full(retry_after: float) -> bytes:
    problem = {"type": "t", "title": "t", "status": 503, "detail": "the pool is full", "code": "pool_full"}
    problem |= {"retryable": True, "request_id": "r", "context": {"retry_after": retry_after}}
    return _answer(503, problem)


class ScriptedServer:
    """Answers each request it reads with the next of its answers; None closes the connection instead."""

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = list(answers)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self.requests: list[bytes] = []
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Wakes the thread from accept(); closing alone would leave it there.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def keys(self) -> list[bytes]:
        """The idempotency keys of the requests, in order."""
        lines = (line for request in self.requests for line in request.split(b"\r\n"))
        return [line.partition(b": ")[2] for line in lines if line.lower().startswith(b"idempotency-key:")]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        while request := _read_request(connection):
            self.requests.append(request)
            answer = self._answers.pop(0)
            if answer is None:
                return
            connection.sendall(answer)


def _read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def _nobody() -> Iterator[str]:
    """The URL of a port that is taken and not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_one_connection_serves_many_calls_with_the_key() -> None:
    with ScriptedServer(*[_answer(200, HEALTH)] * 5) as server, Client(server.url, "secret") as client:
        for _ in range(5):
            assert client.health().version == "1"
    assert server.connections == 1
    assert all(b"authorization: bearer secret" in request.lower() for request in server.requests)


def test_one_connection_serves_many_calls_of_the_asynchronous_client() -> None:
    async def main(url: str) -> None:
        async with AsyncClient(url) as client:
            for _ in range(5):
                await client.health()

    with ScriptedServer(*[_answer(200, HEALTH)] * 5) as server:
        anyio.run(main, server.url)
    assert server.connections == 1


def test_the_server_is_looked_for_once_however_many_calls_begin() -> None:
    looked: list[str] = []

    async def main(url: str) -> None:
        def locate() -> Address:
            looked.append(url)
            return Address(url, None)

        connection = AsyncConnection(locate, patience=0, transport=None)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(connection.send, Call("GET", "/health"))
        await connection.aclose()

    # The server serves one connection at a time, so each answer closes its own.
    with ScriptedServer(*[_answer(200, HEALTH, Connection="close")] * 3) as server:
        anyio.run(main, server.url)
    assert len(looked) == 1
    assert len(server.requests) == 3


def test_a_kept_connection_that_the_server_gave_up_is_replaced() -> None:
    with ScriptedServer(_answer(200, HEALTH), None, _answer(200, HEALTH)) as server:
        with Client(server.url) as client:
            client.health()
            assert client.health().status == "ok"
    assert server.connections == 2


def test_an_execution_is_repeated_with_its_own_key_and_no_other() -> None:
    with ScriptedServer(None, NO_KEY) as server, Client(server.url) as client:
        with pytest.raises(Unauthenticated):
            client.execute(1, "print(1)")
    first, second = server.keys()
    assert first == second


def test_two_executions_have_two_keys() -> None:
    with ScriptedServer(NO_KEY, NO_KEY) as server, Client(server.url) as client:
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                client.execute(1, "print(1)")
    first, second = server.keys()
    assert first != second


def test_what_may_have_run_is_not_repeated() -> None:
    with ScriptedServer(None, _answer(200, [])) as server, Client(server.url) as client:
        with pytest.raises(ServerUnreachable) as caught:
            client.batch_execute("print(1)")
    assert caught.value.dispatch == "outcome_unknown"
    assert len(server.requests) == 1


def test_a_refusal_is_raised_at_once_unless_patience_was_given() -> None:
    with ScriptedServer(_full(0.05)) as server, Client(server.url) as client:
        with pytest.raises(PoolFull) as caught:
            client.create_vm("a", "python")
    assert caught.value.retry_after == 0.05


def test_patience_waits_a_refusal_out() -> None:
    with ScriptedServer(_full(0.05), _full(0.05), _answer(200, HEALTH)) as server:
        with Client(server.url, patience=5) as client:
            assert client.health().status == "ok"
    assert len(server.requests) == 3


def test_patience_ends() -> None:
    with ScriptedServer(_full(30)) as server, Client(server.url, patience=1) as client:
        with pytest.raises(PoolFull):
            client.health()
    assert len(server.requests) == 1


def test_no_server_at_the_address_means_that_nothing_ran() -> None:
    with _nobody() as url, Client(url) as client:
        with pytest.raises(ServerUnreachable, match="no answer from") as caught:
            client.execute(1, "print(1)")
    assert caught.value.dispatch == "never_dispatched"
    assert caught.value.retryable


def test_another_service_at_the_address_is_told() -> None:
    with ScriptedServer(_answer(200, {"welcome": "elsewhere"})) as server, Client(server.url) as client:
        with pytest.raises(UnexpectedAnswer, match="welcome"):
            client.list_vms()


def test_proxies_of_the_environment_are_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with _nobody() as proxy, ScriptedServer(_answer(200, HEALTH)) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("ALL_PROXY", proxy)
        with Client(server.url) as client:
            assert client.health().status == "ok"


def test_a_followed_log_yields_what_comes_and_can_be_left() -> None:
    entry = {"execution_id": 1, "time": "2026-01-02T03:04:05Z", "stream": "stdout", "text": "\u2028x\n"}
    events = f"id: 1\ndata: {json.dumps(entry, ensure_ascii=False)}\n\n: alive\n\n".encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with ScriptedServer(head + events + events, None) as server, Client(server.url) as client:
        entries = client.follow_logs("a", tail=3)
        assert next(entries).text == "\u2028x\n"
        entries.close()
    assert b"GET /api/vms/a/logs?follow=true&tail=3 " in server.requests[0]


def test_a_log_that_cannot_be_followed_says_why() -> None:
    with ScriptedServer(NO_KEY) as server:
        with Client(server.url) as client, pytest.raises(Unauthenticated, match="no key"):
            next(client.follow_logs("a"))


def test_every_error_is_a_client_error() -> None:
    with ScriptedServer(b"this is not HTTP\r\n\r\n", b"nor this\r\n\r\n") as server:
        with Client(server.url) as client, pytest.raises(ClientError):
            client.health()


def _stream(body: bytes, kind: str = "text/event-stream") -> bytes:
    return f"HTTP/1.1 200 X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


NOT_RUNNING = (
    b'{"place":0,"item":{"vm_id":4,"error":{"code":"vm_not_running","status":409,"detail":"stopped"}}}'
)
STREAMS = [
    (_stream(b"<html>", "text/html"), 0, UnexpectedAnswer),
    (_answer(200, []), 0, UnexpectedAnswer),
    (_stream(b"data: {}\n\n"), 0, UnexpectedAnswer),
    (_stream(b"data: %b\n\n: cut" % NOT_RUNNING), 1, ServerUnreachable),
    (_stream(b"data: %b\n" % NOT_RUNNING), 0, ServerUnreachable),
    (NO_KEY, 0, Unauthenticated),
]
"""What comes, how many results are in it, and what is raised after them."""


@pytest.mark.parametrize(("answer", "count", "error"), STREAMS)
def test_a_batchs_stream_that_goes_wrong(answer: bytes, count: int, error: type[ClientError]) -> None:
    found = []
    with ScriptedServer(answer, None) as server, Client(server.url) as client:
        with pytest.raises(error) as caught:
            for arrival in client.batch_stream("print(1)", [4]):
                found.append(arrival)  # noqa: PERF402 - what came before the error counts
    assert len(found) == count
    if isinstance(caught.value, ServerUnreachable):
        assert caught.value.dispatch == "outcome_unknown"
    assert b"accept: text/event-stream" in server.requests[0].lower()


@pytest.mark.parametrize(("answer", "count", "error"), STREAMS)
def test_the_same_with_the_asynchronous_client(answer: bytes, count: int, error: type[ClientError]) -> None:
    found = []

    async def main(url: str) -> None:
        async with AsyncClient(url) as client:
            with pytest.raises(error):
                async for arrival in client.batch_stream("print(1)", [4]):
                    found.append(arrival)  # noqa: PERF401 - what came before the error counts

    with ScriptedServer(answer, None) as server:
        anyio.run(main, server.url)
    assert len(found) == count
