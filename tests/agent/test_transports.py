"""How the host reaches the agent, and that nobody else does."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.agent.conftest import Agent, eventually
from tests.agent.wire import Wire
from vmpool.agent import binary
from vmpool.agent.codec import Decoder, Frame, encode, pack
from vmpool.agent.messages import Message
from vmpool.errors import BackendFailed


def test_it_binds_its_own_socket(built: Path, tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.write_text("something stale")
    process = subprocess.Popen([built, "--socket", path, "--home", tmp_path])
    try:
        eventually(path.is_socket)
        wire = Wire(path)
        assert wire.sh(1, "pwd").stdout.decode().strip() == str(tmp_path)
        wire.ask(Message.SHUTDOWN, grace_ms=0)
        wire.close()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "arguments", [[], ["--socket"], ["--listen-fd", "x"], ["--what", "1"], ["--listen-fd", "77"]]
)
def test_wrong_arguments(built: Path, arguments: list[str]) -> None:
    done = subprocess.run([built, *arguments], capture_output=True, text=True, timeout=10)
    assert done.returncode == 70
    assert done.stderr.startswith("vmpool-agent: ")


def speak(process: subprocess.Popen[bytes]) -> bytes:
    """HELLO and PING through a bridge's streams; then the end of its input."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(encode(Message.HELLO, 1, pack(Message.HELLO, generation=1)) + encode(Message.PING, 2))
    process.stdin.flush()
    decoder = Decoder()
    frames: list[Frame] = []
    while len(frames) < 2:
        data = os.read(process.stdout.fileno(), 65536)
        assert data, "the bridge ended"
        frames += decoder.feed(data)
    process.stdin.close()
    assert process.wait(10) == 0
    assert process.stdout.read() == b""
    process.stdout.close()
    return bytes(frame.type for frame in frames)


def test_the_bridge(built: Path, agent: Agent) -> None:
    inside: list[str] = []
    if agent.process.args[0] == "unshare":  # type: ignore[index]
        inside = ["nsenter", "--target", str(agent.pid), "--pid"]  # what an engine's exec does
        if os.geteuid() != 0:
            inside += ["--user", "--preserve-credentials"]
    process = subprocess.Popen(
        [*inside, str(built), "connect", str(agent.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert speak(process) == bytes([Message.HELLO_OK, Message.PONG])


def test_a_program_inside_cannot_play_the_host(built: Path, pid_one: Agent) -> None:
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "try:\n    print(s.recv(1))\nexcept ConnectionError:\n    print(b'')"
    )
    wire = pid_one.connect()
    assert wire.run(1, "/usr/bin/python3", "-c", script, str(pid_one.path)).stdout == b"b''\n"
    result = wire.sh(2, f"(setsid {built} connect {pid_one.path} < /dev/zero | head -c 1 | wc -c); true")
    assert result.stdout == b"0\n"


def test_the_binary_is_found(built: Path) -> None:
    assert binary.path() == built
    with pytest.raises(BackendFailed, match="make agent"):
        binary.path("pdp11")


@pytest.mark.parametrize("emulator", [path for path in [shutil.which("qemu-aarch64-static")] if path])
def test_the_other_machine_emulated(built: Path, tmp_path: Path, emulator: str) -> None:
    program = binary.path("aarch64")
    path = tmp_path / "agent.sock"
    process = subprocess.Popen([emulator, program, "--socket", path, "--home", tmp_path, "--no-seccomp"])
    try:
        eventually(path.is_socket)
        wire = Wire(path)
        assert wire.sh(1, "echo out; sleep 1000 & exit 3").outcome == ("out\n", "", 3, 0)
        assert wire.run(2, "sleep", "60", timeout_ms=200)["timed_out"] == 1
        wire.ask(Message.SHUTDOWN, grace_ms=0)
        wire.close()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
