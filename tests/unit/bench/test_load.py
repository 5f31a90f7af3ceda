"""The load generator against a real server, and what it makes of one that is wrong or hangs up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bench.load import Line, at_once, drive, drive_calls


def parse(buffer: bytearray) -> tuple[int, bool] | None:
    return (4, buffer[:4] == b"pong") if len(buffer) >= 4 else None


@contextmanager
def answering(*answers: bytes) -> Iterator[Line]:
    """A server that answers a connection's requests with these, then always the last; b"" hangs up."""

    def serve(connection: socket.socket) -> None:
        number = 0
        with connection:
            while connection.recv(4):
                answer = answers[min(number, len(answers) - 1)]
                number += 1
                if not answer:
                    return
                connection.sendall(answer)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,)).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield Line(lambda: socket.create_connection(listener.getsockname()), b"ping", parse)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_every_line_is_kept_busy() -> None:
    with answering(b"pong") as line:
        figures = drive([line] * 3, 0.1)
    assert figures["failures"] == 0
    assert figures["n"] >= 6
    assert figures["per_second"] > 0
    assert 0 < figures["client_cpu"] <= 1.2


def test_a_wrong_answer_is_a_failure() -> None:
    with answering(b"pong", b"gnop", b"pong") as line:
        figures = drive([line], 0.1)
    assert figures["failures"] == 1
    assert figures["n"] >= 2


def test_a_line_that_breaks_counts_once() -> None:
    with answering(b"pong", b"") as line:
        figures = drive([line], 0.1)
    assert (figures["n"], figures["failures"]) == (1, 1)


def fail() -> None:
    raise ValueError("no")


def test_calls_at_once() -> None:
    figures = at_once([str, fail, str])
    assert (figures["n"], figures["failures"]) == (2, 1)
    assert figures["wall"] > 0


@pytest.mark.parametrize(("call", "failing"), [(str, False), (fail, True)])
def test_calls_again_and_again(call: type[str], failing: bool) -> None:
    figures = drive_calls([call, call], 0.05)
    assert (figures["n"] > 0, figures["failures"] > 0) == (not failing, failing)
