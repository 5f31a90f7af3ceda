"""The installed `vm` against a real server on the embedded backend."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vmpool import Client

from .conftest import VM, Site, has_ended

pytestmark = pytest.mark.timeout(120)


def on_a_terminal(words: list[str | Path], env: Mapping[str, str]) -> str:
    """What a command, which must succeed, shows on a terminal."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(words, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as shown:
            assert shown.wait(20) == 0
        return os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


def in_bytes(site: Site, *words: str) -> bytes:
    """What `vm`, which must succeed, writes."""
    return subprocess.run([VM, *words], env=site.env, stdout=subprocess.PIPE, timeout=50, check=True).stdout


def test_the_eight_forms(site: Site) -> None:
    assert "'test-vm' is running" in site.done("create", "test-vm", "python")
    site.done("create", "other", "bash")
    listed = site.data("list")
    assert [vm["name"] for vm in listed] == ["other", "test-vm"]
    number = str(listed[1]["id"])

    assert site.done("execute", number, "print('Hello from VM!')") == "Hello from VM!\n"
    assert site.done("execute", "test-vm", "print('Hello from VM!')") == "Hello from VM!\n"
    assert re.search(r"^status +running$", site.done("status", number), re.MULTILINE)
    assert "is stopped" in site.done("stop", number)
    assert site.data("status", number)["status"] == "stopped"
    assert "is running" in site.done("start", number)

    shown = site.done("batch", "--language", "bash", "echo here")
    assert shown.count("here\n") == 2
    assert f"VM {number} 'test-vm': exit 0" in shown

    assert site.done("delete", number) == f"VM {number} is deleted\n"
    assert [vm["name"] for vm in site.data("list")] == ["other"]


def test_more_than_an_answer_holds_and_what_is_no_text(site: Site) -> None:
    site.done("create", "a", "python")
    size = 3_000_000
    code = f"import sys; w = sys.stdout.buffer.write; w(bytes(range(256)) * {size // 256}); w(b'end')"
    whole = bytes(range(256)) * (size // 256) + b"end"
    assert in_bytes(site, "execute", "a", code) == whole
    with Client(site.url, site.key) as client:
        (execution,) = client.list_executions("a")
        assert b"".join(client.output("a", execution, offset=1_000_000)) == whole[1_000_000:]
        assert execution.truncated and execution.output_bytes == len(whole)
    number = str(execution.id)
    assert in_bytes(site, "output", "a", number, "--offset", "1000") == whole[1000:]
    assert site.done("output", "a", number, "--stderr") == ""
    assert site.vm("output", "a", number, "--offset", str(size * 2)).returncode == 125


def test_output_goes_where_the_program_wrote_it_byte_for_byte(site: Site) -> None:
    site.done("create", "a", "python")
    code = "import sys; print('Grüße \\u2028 \\t'); sys.stderr.write('no end'); sys.exit(7)"
    done = site.vm("execute", "a", code, LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.stdout == "Grüße \u2028 \t\n"
    assert done.stderr == "no end"
    assert done.returncode == 7


def test_where_the_code_comes_from(site: Site, tmp_path: Path) -> None:
    site.done("create", "a", "python")
    program = tmp_path / "program.py"
    program.write_text("print('from a file')")
    assert site.done("execute", "a", "-", stdin="print('from standard input')") == "from standard input\n"
    assert site.done("execute", "a", "--file", str(program)) == "from a file\n"
    assert site.done("execute", "a", "--command", "echo $0 | tr -d '\\n'; pwd").endswith("/home/user\n")
    assert site.done("execute", "a", "echo $((6 * 7))", "--language", "sh") == "42\n"


def test_what_the_program_is_given(site: Site) -> None:
    site.done("create", "a", "python", "--env", "FROM_VM=1")
    code = "import os; print(os.environ['FROM_VM'], os.environ['FROM_RUN'], os.getcwd())"
    assert site.done("execute", "a", code, "-e", "FROM_RUN=x=y", "--cwd", "/tmp") == "1 x=y /tmp\n"
    assert site.done("execute", "a", "--stdin", "print(int(input()) * 2)", stdin="21\n") == "42\n"


def test_a_time_limit_is_told(site: Site) -> None:
    site.done("create", "a", "python")
    done = site.vm("execute", "a", "print('begun', flush=True); import time; time.sleep(60)", "-t", "1")
    assert done.stdout == "begun\n"
    assert "time limit" in done.stderr
    assert done.returncode not in (0, 125)


def test_every_option_of_create(site: Site) -> None:
    words = "--cpu 0.5 --memory 256 --disk 300 --template python --label team=core --ttl 500".split()
    made = site.data("create", "a", "py", *words, "--idle-timeout", "400", "--network", "none")
    assert (made["cpu_limit"], made["memory_limit"], made["disk_limit"]) == (0.5, 256, 300)
    assert (made["language"], made["template"], made["network"]) == ("python", "python", "none")
    assert (made["ttl"], made["idle_timeout"], made["labels"]) == (500, 400, {"team": "core"})
    assert site.done("create", "b", "bash", "--quiet").strip().isdigit()


def test_json_is_the_apis(site: Site) -> None:
    made = site.data("create", "a", "python")
    assert {"id", "user_id", "name", "status", "language", "container_id", "backend"} <= set(made)
    result = site.data("execute", "a", "print(1)")
    assert (result["output"], result["exit_code"], result["vm_id"]) == ("1\n", 0, made["id"])
    assert {"cpu_percent", "memory_bytes", "processes", "executions"} <= set(site.data("status", "a"))
    assert [item["output"] for item in site.data("batch", "print(2)")] == ["2\n"]
    for verb in ("stop", "start", "restart"):
        assert site.data(verb, "a")["id"] == made["id"]
    assert site.data("limits", "a", "--cpu", "0.5")["cpu_limit"] == 0.5
    assert "0.5" in site.done("limits", "a")
    pool = site.data("pool")
    assert (pool["backend"]["name"], pool["limits"]["max_vms_per_user"]) == ("bubblewrap", 10)
    assert "bubblewrap" in site.done("pool")


def test_json_ends_with_the_programs_status_too(site: Site) -> None:
    site.done("create", "a", "bash")
    done = site.vm("execute", "a", "exit 3", "--json")
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (3, 3)


def test_what_cannot_be_done_is_125_and_says_what_to_do(site: Site) -> None:
    site.done("create", "a", "bash")
    site.done("stop", "a")
    for words, said in (
        (("execute", "missing", "true"), "'vm list' shows your VMs"),
        (("execute", "a", "true"), "'vm start ID' starts it"),
        (("create", "a", "bash"), "already have a VM named 'a'"),
        (("create", "B!", "bash"), "name"),
        (("create", "b", "cobol"), "language"),
        (("create", "b", "bash", "--cpu", "-1"), "cpu_limit"),
        (("delete", "missing"), "no VM 'missing'"),
    ):
        done = site.vm(*words)
        assert (done.returncode, done.stdout) == (125, ""), words
        assert said in done.stderr, words
        assert "Traceback" not in done.stderr, words


def test_deleting_several_goes_on_after_a_failure(site: Site) -> None:
    site.done("create", "a", "bash")
    site.done("create", "b", "bash")
    done = site.vm("delete", "a", "missing", "b")
    assert done.returncode == 125
    assert done.stdout == "VM a is deleted\nVM b is deleted\n"
    assert site.data("list") == []


def test_a_batch_keeps_failures_apart(site: Site) -> None:
    site.done("create", "a", "bash")
    site.done("create", "b", "bash")
    done = site.vm("batch", "test $(hostname) = a")
    assert done.returncode == 1
    assert "'a': exit 0" in done.stdout
    assert "'b': exit 1" in done.stdout
    site.done("stop", "b")
    done = site.vm("batch", "--vm", "a", "--vm", "b", "echo here")
    assert done.returncode == 125
    assert "here\n" in done.stdout
    assert "stopped" in done.stderr
    assert site.done("batch", "true").count("exit 0") == 1  # the running ones


def test_a_batch_shows_each_result_as_it_comes(site: Site) -> None:
    for name, nap in (("slow", "600"), ("quick", "0")):
        site.done("create", name, "bash", "--env", f"NAP={nap}")
    with subprocess.Popen(
        [VM, "batch", "--command", "sleep $NAP; echo done"],
        env=site.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline().endswith("'quick': exit 0\n")
        assert running.stdout.readline() == "done\n"
        site.done("stop", "slow")
        assert "'slow'" in running.stdout.readline()
        assert running.wait(30) != 0


def test_a_batch_as_json_is_in_the_order_of_the_request(site: Site) -> None:
    for name, nap in (("a", "1"), ("b", "0")):
        site.done("create", name, "bash", "--env", f"NAP={nap}")
    done = site.vm("batch", "--json", "--vm", "a", "--vm", "none", "--vm", "b", "sleep $NAP; hostname")
    assert done.returncode == 125
    first, missing, last = json.loads(done.stdout)
    assert (first["output"], missing["vm_id"], last["output"]) == ("a\n", "none", "b\n")


def test_a_batch_on_a_terminal_shows_how_far_it_is_and_covers_no_output(site: Site) -> None:
    site.done("create", "a", "bash")
    text = on_a_terminal([VM, "batch", "sleep 0.5; printf no-newline"], site.env)
    assert "executing: 0 of 1 VMs are done" in text
    assert "no-newline\r\n" in text


def test_logs_and_following_them(site: Site) -> None:
    site.done("create", "a", "bash")
    site.done("execute", "a", "echo first; echo wrong >&2")
    done = site.vm("logs", "a")
    assert (done.stdout, done.stderr) == ("first\n", "wrong\n")
    site.done("execute", "a", "echo second")
    assert site.done("logs", "a", "--tail", "1") == "second\n"
    lines = [json.loads(line) for line in site.done("logs", "a", "--json").splitlines()]
    assert [line["text"] for line in lines if line["stream"] == "stdout"] == ["first\n", "second\n"]

    with subprocess.Popen(
        [VM, "logs", "a", "--follow", "--tail", "1"], env=site.env, stdout=subprocess.PIPE, text=True
    ) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "second\n"
        site.done("execute", "a", "echo live")
        assert following.stdout.readline() == "live\n"
        site.done("delete", "a")
        assert following.wait(20) == 0


def test_snapshot_and_restore(site: Site) -> None:
    site.done("create", "a", "bash")
    site.done("execute", "a", "echo kept > file")
    assert "'before'" in site.done("snapshot", "a", "before")
    site.done("execute", "a", "echo changed > file; touch other")
    kept = site.data("snapshots", "a")
    assert [snapshot["name"] for snapshot in kept] == ["before"]
    assert "before" in site.done("snapshots", "a")
    site.done("restore", "a", "before")
    assert site.done("execute", "a", "cat file; ls") == "kept\nfile\n"
    site.done("restore", "a", str(kept[0]["id"]))
    assert site.vm("restore", "a", "never-made").returncode == 2


def test_run_makes_a_vm_and_leaves_none(site: Site, tmp_path: Path) -> None:
    program = tmp_path / "double.py"
    program.write_text("import sys; print(int(input()) * 2); sys.exit(5)")
    done = site.vm("run", str(program), stdin="21\n")
    assert (done.stdout, done.stderr, done.returncode) == ("42\n", "", 5)
    assert site.done("run", "-", "--language", "bash", stdin="echo from standard input") == (
        "from standard input\n"
    )
    assert site.data("list") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_ended_by_a_signal_deletes_its_vm(site: Site, tmp_path: Path, number: int) -> None:
    program = tmp_path / "long.sh"
    program.write_text("sleep 60")
    with subprocess.Popen(
        [VM, "run", program], env=site.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        deadline = time.monotonic() + 30
        while not any(vm["status"] == "running" for vm in site.data("list")):
            assert time.monotonic() < deadline
        time.sleep(0.5)  # until the program runs; before that the test holds as well
        running.send_signal(number)
        assert running.wait(30) == 128 + number
        assert running.stderr is not None
        assert running.stderr.read() == ""
    assert site.data("list") == []


@pytest.mark.parametrize("words", [["execute", "a"], ["batch"]], ids=" ".join)
def test_a_signal_that_leaves_the_program_running_says_so(site: Site, words: list[str]) -> None:
    site.done("create", "a", "bash")
    with subprocess.Popen(
        [VM, *words, "sleep 60"], env=site.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as running:
        deadline = time.monotonic() + 30
        while site.data("status", "a")["executions"] == 0:
            assert time.monotonic() < deadline
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130
        assert running.stderr is not None
        assert "goes on in the VM" in running.stderr.read()
    assert site.data("status", "a")["executions"] == 1


def test_users(site: Site) -> None:
    made = site.vm("user", "create", "ada")
    assert made.returncode == 0, made.stderr
    assert site.vm("list", "--json", VMPOOL_API_KEY=made.stdout.strip()).stdout == "[]\n"
    assert "ada" in site.done("user", "list")
    refused = site.vm("user", "create", "ada")
    assert (refused.returncode, refused.stdout) == (125, "")
    assert "ada" in refused.stderr


def test_administration(site: Site) -> None:
    bob = site.vm("user", "create", "bob", "--max-vms", "1").stdout.strip()
    reader = site.vm("key", "create", "look", "--scope", "read", "--user", "bob").stdout.strip()
    refused = site.vm("create", "hers", "bash", VMPOOL_API_KEY=reader)
    assert refused.returncode == 125 and "'manage'" in refused.stderr and "vm key list" in refused.stderr
    key = next(key for key in site.data("key", "list", "--user", "bob") if key["name"] == "look")
    rotated = site.vm("key", "rotate", str(key["id"]), "--overlap", "0", VMPOOL_API_KEY=bob)
    assert rotated.stdout.startswith("vmp_"), rotated.stderr
    assert "is changed" in site.done("user", "update", "bob", "--max-vms", "usual")
    assert "is disabled" in site.done("user", "disable", "bob")
    assert "bob" in site.done("pool", "--users")
    assert "USER" in site.done("list", "--all")
    shown = site.done("audit", "--limit", "1000")
    assert "rotate_key" in shown and '{"disabled": true}' in shown
    assert not any(secret in shown for secret in (bob, reader, rotated.stdout.strip()))
    unknown = site.vm("user", "enable", "nobody")
    assert unknown.returncode == 2 and "no user 'nobody'" in unknown.stderr


def test_keys(site: Site) -> None:
    made = site.vm("key", "create", "ci", "--ttl", "600")
    secret = made.stdout.strip()
    assert "cannot be shown again" in made.stderr
    assert site.vm("list", VMPOOL_API_KEY=secret).returncode == 0
    key = next(key for key in site.data("key", "list") if key["name"] == "ci")
    assert secret.startswith(key["prefix"])
    assert "ci" in site.done("key", "list")
    site.done("key", "revoke", str(key["id"]))
    refused = site.vm("list", VMPOOL_API_KEY=secret)
    assert refused.returncode == 125
    assert "VMPOOL_API_KEY" in refused.stderr


def test_names_are_completed(site: Site) -> None:
    site.done("create", "test-vm", "bash")
    done = site.vm(_VM_COMPLETE="complete_bash", COMP_WORDS="vm start te", COMP_CWORD="2")
    assert done.stdout.split() == ["test-vm"]


def test_on_a_terminal_there_is_a_drawn_table(site: Site) -> None:
    site.done("create", "test-vm", "bash")
    env = {name: value for name, value in site.env.items() if name != "NO_COLOR"}
    text = on_a_terminal([VM, "list"], {**env, "TERM": "xterm-256color"})
    assert "─" in text
    assert "\x1b[32mrunning" in text


def test_a_command_starts_a_server_and_says_so(fresh: Site) -> None:
    first = fresh.vm("create", "a", "bash")
    assert first.returncode == 0, first.stderr
    assert first.stderr.startswith("no vmpool server is running: starting one\n")
    pid = fresh.pid
    assert not has_ended(pid)
    assert os.getsid(pid) != os.getsid(0)
    second = fresh.vm("execute", "a", "echo still here")
    assert (second.stdout, second.stderr) == ("still here\n", "")
    assert fresh.pid == pid

    fresh.done("delete", "a")
    assert "stopped" in fresh.done("serve", "--stop")
    assert has_ended(pid)
    again = fresh.vm("serve", "--stop")
    assert (again.returncode, again.stdout) == (1, "")


def test_two_commands_at_once_start_one_server(fresh: Site) -> None:
    with ThreadPoolExecutor(3) as threads:
        done = list(threads.map(lambda _: fresh.vm("list", "--json"), range(3)))
    assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
    assert (fresh.state_dir / "server.log").read_text().count("vmpool serves at") == 1


def test_vms_outlive_their_server(fresh: Site) -> None:
    assert "running at" in fresh.done("serve", "--detach")
    assert "running already" in fresh.done("serve", "--detach")
    fresh.done("create", "a", "bash")
    fresh.done("execute", "a", "echo kept > file")
    fresh.done("serve", "--stop")
    assert fresh.vm("list", VMPOOL_AUTOSTART="0").returncode == 125
    fresh.done("serve", "--detach")
    assert fresh.done("execute", "a", "cat file") == "kept\n"


def test_a_server_that_cannot_start_shows_why(fresh: Site) -> None:
    began = time.monotonic()
    done = fresh.vm("list", VMPOOL_LISTEN__PORT="notaport")
    assert done.returncode == 125
    assert "port" in done.stderr
    assert "server.log" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < 20
