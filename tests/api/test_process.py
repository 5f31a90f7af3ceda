"""A real server process on a real socket: its start, its end, and what it leaves."""

from __future__ import annotations

import signal
import socket
import stat
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.server_process import server, spawn


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
