"""Finding the server of this machine, and what is said when there is none."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmpool.client import local
from vmpool.client.errors import NoServer


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that the environment names, and no other way to a server."""
    for name in (local.URL_VARIABLE, local.KEY_VARIABLE, local.AUTOSTART_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(local.STATE_VARIABLE, str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def listening(state_dir: Path) -> Iterator[str]:
    """What a running server leaves in its state directory; the URL it names accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        _announce(state_dir, url)
        yield url


def _announce(state_dir: Path, url: str) -> None:
    state_dir.mkdir()
    (state_dir / "server.json").write_text(json.dumps({"url": url, "pid": os.getpid()}))
    (state_dir / "owner.key").write_text("vmp_owner\n")


def _server_program(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(local, "SERVER_COMMAND", (sys.executable, "-c", program))


def test_what_is_given_comes_before_the_environment(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(local.URL_VARIABLE, "http://environment:1/")
    monkeypatch.setenv(local.KEY_VARIABLE, "environment")
    assert local.find("http://given:2", "given") == local.Address("http://given:2", "given")
    assert local.find() == local.Address("http://environment:1", "environment")


def test_the_running_server_of_this_machine_is_found_with_its_owners_key(listening: str) -> None:
    assert local.find() == local.Address(listening, "vmp_owner")


def test_another_key_can_be_used_with_it(listening: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(local.KEY_VARIABLE, "vmp_other")
    assert local.find() == local.Address(listening, "vmp_other")


def test_what_a_killed_server_left_behind_is_not_a_server(state_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        _announce(state_dir, f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert local.running(state_dir) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', "null"])
def test_a_file_half_written_is_not_a_server(state_dir: Path, content: str) -> None:
    state_dir.mkdir()
    (state_dir / "server.json").write_text(content)
    (state_dir / "owner.key").write_text("k")
    assert local.running(state_dir) is None
    assert local.server_pid(state_dir) in (None, 1)


def test_none_is_started_where_that_is_not_wanted(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(local.AUTOSTART_VARIABLE, "0")
    with pytest.raises(NoServer, match="vm serve"):
        local.find()
    assert not state_dir.exists()


def test_a_server_that_does_not_start_shows_the_end_of_its_log(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _server_program(monkeypatch, "raise SystemExit('user namespaces are forbidden')")
    with pytest.raises(NoServer, match="user namespaces are forbidden") as caught:
        local.find()
    assert str(state_dir / "server.log") in str(caught.value)
    assert "starting one" in capsys.readouterr().err
    assert stat.S_IMODE(state_dir.stat().st_mode) == 0o700


def test_a_server_that_never_answers_is_given_up(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _server_program(monkeypatch, "import time; time.sleep(1)")
    monkeypatch.setattr(local, "START_SECONDS", 0.1)
    with pytest.raises(NoServer, match="does not answer"):
        local.start(state_dir)


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoServer, match="file"):
        local.start(tmp_path / "file" / "state")


def test_a_machine_without_the_server_says_how_to_install_it(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local, "_NEEDED", ("a_package_that_is_not_there",))
    with pytest.raises(NoServer, match=r"pip install 'vmpool\[server\]'.*VMPOOL_URL"):
        local.find()
    assert capsys.readouterr().err == ""


def test_no_server_is_stopped_where_none_runs(state_dir: Path) -> None:
    assert local.stop(state_dir) is False


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.1.2.3:1", True),
        ("http://localhost", True),
        ("http://[::1]:5", True),
        ("http://10.0.0.1", False),
        ("https://vms.example", False),
    ],
)
def test_which_servers_are_on_this_machine(url: str, loopback: bool) -> None:
    assert local.Address(url, None).is_loopback is loopback


def test_the_default_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(local.STATE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert local.default_state_dir() == Path("/somewhere/vmpool")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert local.default_state_dir() == Path("/var/lib/vmpool")
