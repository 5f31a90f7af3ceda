from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vmpool.errors import Conflict, InvalidRequest
from vmpool.store.statedir import StateDirectory

HOLDER = """
import subprocess, sys
from pathlib import Path
from vmpool.store.statedir import StateDirectory
with StateDirectory(Path(sys.argv[1])):
    machine = subprocess.Popen(["sleep", "60"], start_new_session=True)
    print(machine.pid, flush=True)
    sys.stdin.read()
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_its_owner_only(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        with StateDirectory(tmp_path / "a" / "b") as state:
            state.owner_key = "vmp_secret"
            state.announce("http://127.0.0.1:8321")
            assert mode(state.path) == 0o700
            assert mode(state.directory("bubblewrap")) == 0o700
            assert {mode(path) for path in state.path.iterdir() if path.is_file()} == {0o600}
    finally:
        os.umask(umask)


def test_a_directory_others_could_read_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with StateDirectory(tmp_path):
        assert mode(tmp_path) == 0o700


def test_a_second_server_is_refused_with_the_first_one_s_process_id(tmp_path: Path) -> None:
    with StateDirectory(tmp_path):
        with pytest.raises(Conflict, match=f"process {os.getpid()}") as caught:
            StateDirectory(tmp_path).__enter__()
        assert caught.value.context["pid"] == os.getpid()
    with StateDirectory(tmp_path):
        pass


def test_the_lock_ends_with_a_killed_server_though_its_machines_live_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        machine = int(holder.stdout.readline())
        try:
            with pytest.raises(Conflict) as caught:
                StateDirectory(tmp_path).__enter__()
            assert caught.value.context["pid"] == holder.pid
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            os.kill(machine, 0)
            with StateDirectory(tmp_path):
                pass
        finally:
            os.kill(machine, signal.SIGKILL)


def test_of_two_directories_of_one_pool_one_has_a_server(tmp_path: Path) -> None:
    old, restored = tmp_path / "old", tmp_path / "restored"
    with StateDirectory(old) as state:
        restored.mkdir()
        (restored / "pool_id").write_text(state.pool_id + "\n")
    command = [sys.executable, "-c", HOLDER, str(old)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        machine = int(holder.stdout.readline())
        try:
            for _ in range(200):  # a service manager may try for ever
                with pytest.raises(Conflict, match=f"runs the pool {state.pool_id}") as caught:
                    StateDirectory(restored).__enter__()
                assert caught.value.context["pid"] in {holder.pid, None}
            assert not (restored / "lock").read_text()
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            os.kill(machine, 0)
            with StateDirectory(restored), pytest.raises(Conflict, match=f"process {os.getpid()}, user"):
                StateDirectory(old).__enter__()
        finally:
            os.kill(machine, signal.SIGKILL)


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRequest, match="state_dir"):
        StateDirectory(tmp_path / "file" / "state").__enter__()
    with pytest.raises(InvalidRequest, match="state_dir"):
        StateDirectory(tmp_path / "file").__enter__()


def test_the_pool_is_named_once(tmp_path: Path) -> None:
    with StateDirectory(tmp_path / "a") as state:
        name = state.pool_id
        assert len(name) == 12
        assert int(name, 16) >= 0
    with StateDirectory(tmp_path / "a") as state:
        assert state.pool_id == name
    with StateDirectory(tmp_path / "b") as other:
        assert other.pool_id != name


def test_what_auto_means_is_remembered(tmp_path: Path) -> None:
    with StateDirectory(tmp_path) as state:
        assert state.backend is None
        state.decide_backend("bubblewrap", "no engine answers")
    with StateDirectory(tmp_path) as state:
        assert state.backend == ("bubblewrap", "no engine answers")


def test_the_owner_s_key_is_kept(tmp_path: Path) -> None:
    with StateDirectory(tmp_path) as state:
        assert state.owner_key is None
        state.owner_key = "vmp_first"
        state.owner_key = "vmp_second"
    assert (tmp_path / "owner.key").read_text() == "vmp_second\n"
    with StateDirectory(tmp_path) as state:
        assert state.owner_key == "vmp_second"


def test_a_server_is_announced_while_it_listens(tmp_path: Path) -> None:
    with StateDirectory(tmp_path) as state:
        state.announce("http://127.0.0.1:1")
        said = json.loads((tmp_path / "server.json").read_text())
        assert said == {"url": "http://127.0.0.1:1", "pid": os.getpid()}
    assert not (tmp_path / "server.json").exists()
