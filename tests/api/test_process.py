"""A real server process on a real socket: its start, its end, and what it leaves."""

from __future__ import annotations

import resource
import signal
import socket
import stat
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.server_process import server, spawn
from vmpool.http_server import OPEN_FILES


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def test_start_use_end(state_dir: Path, output: Path) -> None:
    with server(state_dir, output, BACKEND="fake") as running:
        made = running.client.post("/api/vms/create", json={"name": "box", "language": "python"})
        assert made.status_code == 201, made.text
        ran = running.client.post("/api/vms/box/execute", json={"code": "print('hi')"})
        assert ran.json()["output"] == "hi\n"
        said = output.read_text()
        assert running.url in said
        assert "fake" in said and "chosen by the settings" in said
        assert str(state_dir / "owner.key") in said
        assert running.key not in said
        assert stat.S_IMODE((state_dir / "owner.key").stat().st_mode) == 0o600
        assert running.end() == 0
    assert not (state_dir / "server.json").exists()
    assert "Traceback" not in output.read_text()


def test_the_owners_key_stays_the_same(state_dir: Path, output: Path) -> None:
    with server(state_dir, output, BACKEND="fake") as first:
        key = first.key
        first.end(signal.SIGKILL)
    with server(state_dir, output, BACKEND="fake") as second:
        assert second.key == key
        assert second.client.get("/api/vms").status_code == 200


def test_a_second_server_is_refused(state_dir: Path, output: Path, tmp_path: Path) -> None:
    with server(state_dir, output, BACKEND="fake") as running:
        second = spawn(state_dir, tmp_path / "second", BACKEND="fake")
        assert second.wait(30) == 1
        said = (tmp_path / "second").read_text()
        assert "another vmpool server" in said and str(running.process.pid) in said
        assert "Traceback" not in said
        assert running.client.get("/api/vms").status_code == 200


def test_a_port_that_is_taken_is_named(state_dir: Path, output: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = spawn(state_dir, output, BACKEND="fake", LISTEN__PORT=str(port))
        assert process.wait(30) == 1
    assert f"port {port}" in output.read_text()
    assert "Traceback" not in output.read_text()


def test_a_wrong_setting_is_named(state_dir: Path, output: Path) -> None:
    process = spawn(state_dir, output, BACKEND="fake", LISTEN__PORT="eighty")
    assert process.wait(30) == 1
    assert "listen.port" in output.read_text()
    assert "Traceback" not in output.read_text()


def test_what_is_in_progress_is_finished(state_dir: Path, output: Path) -> None:
    with server(state_dir, output, BACKEND="fake") as running:
        running.client.post("/api/vms/create", json={"name": "box", "language": "python"})
        answers: list[httpx.Response] = []

        def slow() -> None:
            answers.append(
                running.client.post("/api/vms/box/execute", json={"command": "sleep 1; echo done"})
            )

        thread = threading.Thread(target=slow)
        thread.start()
        while not running.client.get("/api/vms/box/executions").json():
            time.sleep(0.01)
        assert running.end() == 0
        thread.join()
    assert answers[0].json()["output"] == "done\n"


def test_what_outlasts_the_drain_is_cut(state_dir: Path, output: Path) -> None:
    with server(state_dir, output, BACKEND="fake", LISTEN__DRAIN="0.5") as running:
        running.client.post("/api/vms/create", json={"name": "box", "language": "python"})
        answers: list[httpx.Response] = []

        def endless() -> None:
            answers.append(running.client.post("/api/vms/box/execute", json={"command": "sleep 300"}))

        thread = threading.Thread(target=endless)
        thread.start()
        while not running.client.get("/api/vms/box/executions").json():
            time.sleep(0.01)
        began = time.monotonic()
        assert running.end() == 0
        assert time.monotonic() - began < 10
        thread.join()
    assert answers[0].status_code == 502
    assert answers[0].json()["dispatch"] == "outcome_unknown"


def test_a_second_signal_ends_it_at_once(state_dir: Path, output: Path) -> None:
    with server(state_dir, output, BACKEND="fake", LISTEN__DRAIN="300") as running:
        running.client.post("/api/vms/create", json={"name": "box", "language": "python"})
        answers: list[httpx.Response] = []

        def endless() -> None:
            answers.append(running.client.post("/api/vms/box/execute", json={"command": "sleep 300"}))

        thread = threading.Thread(target=endless)
        thread.start()
        while not running.client.get("/api/vms/box/executions").json():
            time.sleep(0.01)
        running.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):  # it waits for what is in progress
            running.process.wait(1)
        assert running.end() == 0
        thread.join()
    assert (answers[0].status_code, answers[0].json()["dispatch"]) == (502, "outcome_unknown")


def test_followers_do_not_hold_up_the_end(state_dir: Path, output: Path) -> None:
    with server(state_dir, output, BACKEND="fake", LISTEN__DRAIN="20") as running:
        running.client.post("/api/vms/create", json={"name": "box", "language": "python"})
        with running.client.stream("GET", "/api/vms/box/logs?follow=true") as stream:
            lines = stream.iter_lines()
            next(lines)
            began = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert running.process.wait(30) == 0
        assert time.monotonic() - began < 10
    assert not [line for line in rest if line.startswith("data:")]


@pytest.mark.parametrize("endless", [b"a" * 4096, b"X: 1\r\n" * 512], ids=["one header", "many headers"])
@pytest.mark.parametrize("trailers", [False, True])
def test_a_head_without_end_is_cut(state_dir: Path, output: Path, endless: bytes, *, trailers: bool) -> None:
    """Whoever can reach the port could fill the server's memory otherwise: no key is needed for a head."""
    begun = b"POST /health HTTP/1.1\r\nHost: x\r\n"
    if trailers:
        begun += b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n"
    with server(state_dir, output, BACKEND="fake") as running:
        host, port = httpx.URL(running.url).host, httpx.URL(running.url).port
        with socket.create_connection((host, port or 0), timeout=10) as client:
            client.sendall(begun + b"X: ")
            sent = 0
            with pytest.raises(OSError, match=r"reset|Broken pipe"):
                while sent < 32 << 20:
                    sent += client.send(endless)
        assert sent < 16 << 20  # what the kernel's buffers took, too
        assert running.client.get("/api/vms").status_code == 200


def test_the_limit_of_open_files_is_raised(state_dir: Path, output: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        process = spawn(state_dir, output, BACKEND="fake")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        while not (state_dir / "server.json").exists():
            assert process.poll() is None, output.read_text()
            time.sleep(0.02)
        raised, _ = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        assert raised == min(OPEN_FILES, hard)
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.parametrize(
    ("trusted", "shown"), [('["127.0.0.0/8"]', "192.0.2.7"), ('["192.0.2.0/24"]', "127.0.0.1")]
)
def test_a_proxys_word_counts_where_it_is_trusted(
    state_dir: Path, output: Path, trusted: str, shown: str
) -> None:
    forwarded = {"X-Forwarded-For": "198.51.100.1, 192.0.2.7", "X-Forwarded-Proto": "https"}
    with server(state_dir, output, BACKEND="fake", LISTEN__TRUSTED_PROXIES=trusted) as running:
        answer = running.client.post("/api/keys", headers=forwarded)
        assert answer.status_code == 201
        assert ("strict-transport-security" in answer.headers) == (shown != "127.0.0.1")
        assert running.client.get("/api/audit").json()[0]["address"] == shown


def test_a_body_in_small_pieces_is_no_head(state_dir: Path, output: Path) -> None:
    with server(state_dir, output, BACKEND="fake") as running:
        host, port = httpx.URL(running.url).host, httpx.URL(running.url).port
        with socket.create_connection((host, port or 0), timeout=10) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = f"POST /api/vms/create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.key}\r\n"
            client.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
            for _ in range(200):
                client.sendall(b"1;" + b"e" * 1000 + b"\r\n")
                client.sendall(b" \r\n")
            client.sendall(b"0\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 422 ")
