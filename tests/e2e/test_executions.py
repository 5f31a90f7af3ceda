"""Executions that go on, through the `vm` command and both SDK clients, and the page about them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from contextlib import aclosing, closing
from pathlib import Path

import anyio
import pytest

from tests.e2e.conftest import VM, Site
from vmpool import AsyncClient, Client
from vmpool.client import OutputPiece, errors
from vmpool.client.models import Execution

PAGE = Path(__file__).parents[2] / "docs" / "executions.md"


@pytest.fixture
def box(site: Site) -> Site:
    """A site with a VM `a` for shell lines."""
    site.done("create", "a", "bash")
    return site


def test_the_commands_of_the_page_work(site: Site, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**site.env, "PATH": f"{VM.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0\n1\n2\n42\n" in done.stdout
    assert "running" in done.stdout and "ended with 143" in done.stdout
    assert "two\n" in done.stderr


def test_what_runs_in_the_background(box: Site) -> None:
    number = box.done("execute", "a", "--background", "echo one; exit 4").strip()
    assert box.vm("wait", "a", number).returncode == 4
    ended = box.data("executions", "a")[0]
    assert (str(ended["id"]), ended["background"]) == (number, True)
    running = box.data("execute", "a", "-b", "sleep 60")
    assert running["state"] == "running"
    assert box.done("executions", "a", "--state", "running", "--quiet").split() == [str(running["id"])]
    waited = box.vm("wait", "a", str(running["id"]), "--timeout", "0.1")
    assert waited.returncode == 125 and "still runs" in waited.stderr
    assert "ended with 137" in box.done("cancel", "a", str(running["id"]), "--grace", "0")
    assert box.vm("signal", "a", str(running["id"]), "HUP").returncode == 125
    assert box.vm("signal", "a", str(running["id"]), "NONSENSE").returncode == 125


def test_output_comes_as_it_is_written(box: Site) -> None:
    words: list[str | Path] = [
        VM,
        "execute",
        "a",
        "--stream",
        "--stdin",
        "echo ready; read x; echo got $x; echo bad >&2; exit 7",
    ]
    with subprocess.Popen(
        words, env=box.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdin is not None and running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == "ready\n"  # while the program waits
        running.stdin.write("this\n")
        running.stdin.flush()
        assert running.stdout.readline() == "got this\n"
        assert running.wait(30) == 7
        assert running.stderr.read() == "bad\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_is_streamed(box: Site, number: int) -> None:
    words: list[str | Path] = [VM, "execute", "a", "--stream", "echo ready; sleep 60"]
    with subprocess.Popen(
        words,
        env=box.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(number)
        assert running.wait(30) == 128 + number
        assert "was ended" in running.stderr.read()
    assert box.data("status", "a")["executions"] == 0


def test_leaving_what_is_attached_to_leaves_it_running(box: Site) -> None:
    number = box.done("execute", "a", "-b", "echo one; echo two; sleep 60").strip()
    with subprocess.Popen(
        [VM, "attach", "a", number], env=box.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        assert [running.stdout.readline() for _ in range(2)] == ["one\n", "two\n"]
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert f"vm cancel a {number}" in running.stderr.read()
    assert box.data("status", "a")["executions"] == 1
    box.done("cancel", "a", number)
    assert box.vm("attach", "a", number, "--tail", "4").stdout == "two\n"


def test_the_synchronous_client(box: Site) -> None:
    with Client(box.url, box.key) as client:
        vm = client.get_vm("a")
        out: list[str] = []
        err: list[str] = []
        result = vm.run("echo é; echo bad >&2; exit 3", on_stdout=out.append, on_stderr=err.append)
        assert ("".join(out), "".join(err), result.exit_code) == ("é\n", "bad\n", 3)
        assert client.get_execution(vm.id, result.id) == Execution.model_validate(result.model_dump())

        cat = vm.begin("cat; echo ended", stdin_open=True)
        assert (cat.state, cat.background) == ("running", True)
        cat.write_stdin("one\n")
        with closing(cat.stream()) as pieces:
            first = next(pieces)
            assert (first.stream, first.offset, first.data, first.text) == ("stdout", 0, b"one\n", "one\n")
            data = bytes(range(256)) * 8000  # more than any window
            cat.write_stdin(data)
            cat.close_stdin()
            rest = b"".join(piece.data for piece in pieces)
        assert rest == data + b"ended\n"
        assert cat.wait().exit_code == 0

        sleeper = vm.begin("sleep 60")
        assert sleeper.refresh().state == "running"
        assert sleeper.wait(timeout=0.1).state == "running"
        assert [one.id for one in vm.executions(state="running")] == [sleeper.id]
        sleeper.signal("TERM")
        assert sleeper.wait().exit_code == 143
        with pytest.raises(errors.ExecutionEnded):
            sleeper.signal(1)
        assert vm.execution(sleeper.id).cancel().exit_code == 143


def test_the_asynchronous_client(box: Site) -> None:
    async def main() -> None:
        async with AsyncClient(box.url, box.key) as client:
            vm = await client.get_vm("a")
            out: list[str] = []
            result = await vm.run("echo hi", on_stdout=out.append)
            assert (out, result.ok) == (["hi\n"], True)
            cat = await vm.begin("cat", stdin_open=True)
            async with aclosing(cat.stream()) as pieces:
                await cat.write_stdin(b"x")
                assert (await anext(pieces)).data == b"x"
            assert (await cat.cancel(grace=0)).exit_code == 137
            events = client.executions.run_events("a", "echo one; sleep 60", cancel_on_disconnect=True)
            async with aclosing(events) as found:
                begun = await anext(found)
                assert isinstance(begun, Execution) and isinstance(await anext(found), OutputPiece)
            with anyio.fail_after(20):
                ended = await client.executions.wait_for("a", begun)
            assert ended.failure == "it was cancelled"

    anyio.run(main)


def test_a_stream_and_a_service_outlive_the_server(fresh: Site) -> None:
    """The reader goes on by itself with the next server at the same place."""
    fresh.done("create", "a", "bash")
    port = fresh.url.rpartition(":")[2]
    with Client(fresh.url, fresh.key) as client:
        begun = client.begin("a", "echo one; read x; echo $x", stdin_open=True)
        with closing(begun.stream()) as pieces:
            assert next(pieces).data == b"one\n"
            fresh.done("serve", "--stop")
            started = fresh.vm("serve", "--detach", VMPOOL_LISTEN__PORT=port)
            assert started.returncode == 0, started.stderr
            deadline = time.monotonic() + 20
            while True:
                try:
                    begun.write_stdin("two\n")
                    break
                except errors.ClientError:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            assert b"".join(piece.data for piece in pieces) == b"two\n"
        assert begun.wait().exit_code == 0
