"""From inside, looking for the host and for ways out: there is nothing to find."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
from pathlib import Path

import anyio
import psutil
import pytest

from tests.captured import run
from tests.conformance import traces
from tests.conformance.backends import KEY, Power, World
from tests.conformance.box import Box, limited, next_id, open_box, shell_spec
from vmpool.agent import open_client

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(180),
    pytest.mark.requires(Power.REAL_PROGRAMS),
]
host_kernel = pytest.mark.requires(Power.HOST_KERNEL)


async def status_of(box: Box, name: str) -> str:
    return await box.output(f"grep '^{name}:' /proc/self/status | cut -f2")


async def test_no_capability(box: Box) -> None:
    sets = await box.output("grep '^Cap[EPIA]' /proc/self/status | cut -f2")
    assert len(sets.split()) >= 3
    assert {int(word, 16) for word in sets.split()} == {0}


@host_kernel
async def test_no_new_privileges_and_a_filter(box: Box) -> None:
    assert await status_of(box, "NoNewPrivs") == "1"
    assert await status_of(box, "Seccomp") == "2"


async def test_no_privileged_operation(box: Box) -> None:
    for command in (
        "mount -t tmpfs none /tmp",
        "unshare --mount true",
        "unshare --user --map-root-user true",
        "chroot / true",
        "mknod /tmp/d b 8 0",
        "hostname other",
        "su -c true",
        "dmesg",
    ):
        assert (await box.sh(command, stdin=b"")).exit.exit_code != 0, command


async def test_no_file_of_the_host(box: Box) -> None:
    for path in ("/etc/shadow", "/etc/gshadow", "/root/.bashrc", "/root/.ssh", "/etc/ssh/ssh_host_rsa_key"):
        assert (await box.sh(f"cat {path}")).exit.exit_code != 0, path
    code = (
        "import os\ntry: print(os.listdir('/root'))\nexcept OSError: print([])\nprint(os.listdir('/home'))\n"
    )
    assert (await box.python(code)).stdout == b"[]\n['user']\n"
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/var/lib/docker", "/var/lib/vmpool"):
        assert (await box.sh(f"test -e {path}")).exit.exit_code == 1, path


async def test_no_name_of_the_host(box: Box) -> None:
    """Neither where the server keeps its state, nor the host's name, nor who runs the server."""
    marks = [socket.gethostname(), box.world.pool_id]
    if box.world.directory is not None:
        marks += [str(box.world.directory), box.world.directory.name]
    repository = str(Path(__file__).parents[2])
    if repository not in ("/", "/home/user"):
        marks.append(repository + "/")
    text = await box.output(
        "cat /proc/1/cmdline /proc/mounts /proc/self/mountinfo /proc/self/cgroup /etc/hosts /etc/hostname"
        " /etc/passwd /proc/self/environ /proc/1/cgroup 2>/dev/null | tr '\\0' ' '"
    )
    found = [mark for mark in marks if re.search(rf"(?<![\w.-]){re.escape(mark)}(?![\w.-])", text)]
    assert found == []
    assert getpass.getuser() in ("root", "user") or getpass.getuser() not in text


async def test_no_process_of_the_host(box: Box) -> None:
    code = "import os\nprint(sum(name.isdecimal() for name in os.listdir('/proc')))\n"
    assert 1 < await box.figure(code) < 30
    command = await box.output("tr '\\0' ' ' < /proc/1/cmdline")
    assert "vmpool-agent" in command
    assert str(os.getpid()) not in command.split()


@host_kernel
async def test_no_device_but_the_harmless(box: Box) -> None:
    listing = (await box.output("find /dev -xdev -type b -o -type c 2>/dev/null")).split()
    harmless = {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
    assert {Path(name).name for name in listing if not name.startswith("/dev/pts/")} <= harmless


async def test_no_network(box: Box) -> None:
    names = await box.output("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '")
    assert set(names.split()) <= {"lo"}
    code = (
        "import socket\n"
        "s = socket.socket()\n"
        "s.settimeout(2)\n"
        "try: s.connect(('192.0.2.1', 80)); print('connected')\n"
        "except OSError: print('refused')\n"
    )
    assert (await box.python(code)).stdout == b"refused\n"


@host_kernel
async def test_loopback_works_inside(box: Box) -> None:
    code = (
        "import socket\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "c = socket.create_connection(s.getsockname())\n"
        "s.accept()[0].sendall(b'hello')\n"
        "print(c.recv(5).decode())\n"
    )
    assert (await box.python(code)).stdout == b"hello\n"


@host_kernel
@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the machine's processes from outside")
async def test_nothing_listens_on_the_host_and_nothing_is_left(world: World) -> None:
    token = secrets.token_hex(16)
    async with open_box(world) as box:
        env = {"PATH": "/usr/bin:/bin", "TOKEN": token}
        await box.client.start(
            next_id(), shell_spec("python3 -m http.server 8000 & sleep 600", env=env, timeout=None)
        )
        await anyio.sleep(0.5)
        bearers = await anyio.to_thread.run_sync(traces.bearers_of, token)
        assert bearers
        family = {process.pid: process for bearer in bearers for process in (bearer, *_machine_of(bearer))}
        assert traces.listening(set(family)) == []
        await box.backend.destroy(box.key)
    alive = (await anyio.to_thread.run_sync(psutil.wait_procs, list(family.values()), 10))[1]
    assert alive == []
    assert await anyio.to_thread.run_sync(traces.bearers_of, token) == []


def _machine_of(process: psutil.Process) -> list[psutil.Process]:
    """Its ancestors up to the machine's own PID 1, which is the agent."""
    family = []
    for parent in process.parents():
        family.append(parent)
        if parent.name().startswith("vmpool-agent") and parent.ppid() != 0:
            grandparent = parent.parent()
            if grandparent is None or not grandparent.name().startswith("vmpool-agent"):
                break
    return family


async def test_kill_all_leaves_the_machine_usable(own_box: Box) -> None:
    await own_box.sh("kill -9 -1; sleep 5", timeout=20)
    await own_box.sh("kill -TERM 1; kill -HUP 1; kill -INT 1", timeout=20)
    assert await own_box.output("echo alive") == "alive"
    machine = await own_box.backend.inspect(own_box.key)
    assert machine is not None
    assert machine.container_id == own_box.machine.container_id


async def test_process_one_cannot_be_ended(own_box: Box) -> None:
    """Linux drops what is deadly to process 1; where the kernel does not, the agent's filter does."""
    await own_box.sh("kill -KILL 1; kill -STOP 1; kill -SEGV 1", timeout=20)
    assert await own_box.output("echo alive") == "alive"


@host_kernel
async def test_a_fork_bomb_is_bounded_and_ends(world: World) -> None:
    spec = limited(world.spec(), processes=100)
    async with open_box(world, spec=spec) as box:
        if box.info.enforcement["processes"] == "nothing":
            pytest.skip(f"{world.candidate.name}: nothing holds the number of processes here")
        captured = await box.python(
            "import os, time\n"
            "made = 0\n"
            "try:\n"
            "    while made < 400:\n"
            "        if os.fork() == 0: time.sleep(30); os._exit(0)\n"
            "        made += 1\n"
            "except OSError: pass\n"
            "print(made)\n",
            timeout=30,
        )
        assert 0 < int(captured.stdout) < 100
        await box.sh("f() { f | f & }; f", timeout=3)
        with anyio.fail_after(30):
            assert await box.output("echo alive") == "alive"
        assert (await box.client.stats()).u64("processes") < 60


@host_kernel
async def test_the_memory_limit_holds(world: World) -> None:
    spec = limited(world.spec(), memory=128)
    async with open_box(world, spec=spec) as box:
        how = box.info.enforcement["memory"]
        if how == "nothing":
            pytest.skip(f"{world.candidate.name}: nothing holds memory here")
        captured = await box.python("x = bytearray(300 << 20)\nprint(len(x))\n", timeout=30)
        assert captured.exit.exit_code != 0
        assert captured.stdout == b""
        assert (await box.python("print('fine')\n")).stdout == b"fine\n"
        if "per process" not in how:
            both = await box.python(
                "import os\n"
                "for _ in range(4):\n"
                "    if os.fork() == 0: x = b'x' * (60 << 20); import time; time.sleep(3); os._exit(0)\n"
                "print(sorted(os.wait()[1] for _ in range(4))[-1])\n",
                timeout=30,
            )
            assert both.exit.exit_code != 0 or both.stdout != b"0\n"
            assert await box.output("echo alive") == "alive"
            usage = await box.backend.usage(KEY)
            assert usage.oom_kills is None or usage.oom_kills >= 1


@host_kernel
async def test_the_cpu_limit_holds(world: World) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core cannot show it")
    spec = limited(world.spec(), cpu=0.5)
    async with open_box(world, spec=spec) as box:
        if box.info.enforcement["cpu"] == "nothing" or "weight" in box.info.enforcement["cpu"]:
            pytest.skip(f"{world.candidate.name}: nothing caps processor time here")
        captured = await box.python("import time\nend = time.time() + 3\nwhile time.time() < end: pass\n")
        used = captured.exit.user_seconds + captured.exit.system_seconds
        assert used < 0.5 * captured.exit.duration + 0.4


async def test_machines_do_not_see_one_another(world: World) -> None:
    other = type(KEY)(2)
    async with open_box(world) as box:
        await box.backend.create(other, world.spec(hostname="other"))
        async with open_client(lambda: box.backend.dial(other)) as client:
            await run(client, next_id(), shell_spec("echo secret > /tmp/secret; echo secret > ~/secret"))
            await client.start(next_id(), shell_spec("exec sleep 7777"))
            text = await box.output(
                "echo /tmp/* /home/user/*; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat /proc/mounts"
            )
    assert "secret" not in text
    assert "sleep 7777" not in text
    assert "other" not in text
