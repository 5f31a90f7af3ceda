"""What a program in a VM can see, write and use up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.bubblewrap import BubblewrapBackend
from vmpool.backends.bubblewrap.bases import Look
from vmpool.backends.bubblewrap.host import Grade
from vmpool.backends.bubblewrap.skeleton import root_only_command
from vmpool.domain import Limits

from .inside import shell

pytestmark = pytest.mark.anyio
KEY = MachineKey(7)
LIMITS = Limits(cpu=1.0, memory=256, disk=32, processes=64)


@pytest.fixture
async def vm(backend: BubblewrapBackend) -> AsyncIterator[BubblewrapBackend]:
    await backend.create(KEY, MachineSpec("box-7", "bash", LIMITS, env={"TOKEN": "hush"}))
    yield backend


async def test_identity(vm: BubblewrapBackend) -> None:
    said = await shell(
        vm, KEY, "id -u; id -un; id -g; hostname; pwd; umask; cat /proc/self/cgroup | cut -d: -f3"
    )
    lines = said.text.split()
    assert lines[:6] == ["1000", "user", "1000", "box-7", "/home/user", "0022"]
    assert set(lines[6:]) == {"/"}


async def test_no_capability_and_none_to_be_had(vm: BubblewrapBackend) -> None:
    said = await shell(
        vm, KEY, "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; unshare -U true || echo refused"
    )
    values = dict(line.split(":\t") for line in said.text.splitlines() if ":\t" in line)
    assert {values[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert values["NoNewPrivs"] == "1"
    assert "refused" in said.text


async def test_no_path_of_the_host_shows(vm: BubblewrapBackend, tmp_path: Path) -> None:
    said = await shell(
        vm, KEY, "cat /proc/*/mountinfo /proc/*/mounts /proc/*/cmdline /proc/self/environ | tr '\\0' ' '"
    )
    assert "overlay" in said.text
    for place in (str(tmp_path), "/root", str(Path(__file__).parents[3]), "pytest", "/tmp/", "hush"):
        assert place not in said.text.replace("cat /proc", "")


async def test_nothing_of_the_host_is_there(vm: BubblewrapBackend) -> None:
    said = await shell(
        vm,
        KEY,
        "ls -A / /home; ls -d /root /etc/shadow /etc/gshadow /etc/sudoers /etc/machine-id /srv /mnt;"
        "cut -d: -f1 /etc/passwd | tr '\\n' ' '; cat /etc/hosts; ls -A /sys /run /var/log",
    )
    for name in ("/root", "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/machine-id", "/srv", "/mnt"):
        assert f"cannot access '{name}'" in said.text
    assert "root user nobody" in said.text
    assert "localhost box-7" in said.text


async def test_network_is_loopback_alone(vm: BubblewrapBackend) -> None:
    said = await shell(
        vm, KEY, "tail -n +3 /proc/net/dev | cut -d: -f1; cat /proc/net/unix | tail -n +2 | wc -l"
    )
    assert said.text.split()[0] == "lo"
    assert len(said.text.split()) == 2


async def test_devices(vm: BubblewrapBackend) -> None:
    said = await shell(
        vm, KEY, "ls /dev | tr '\\n' ' '; touch /dev/x; mknod /tmp/disk b 254 0; echo x > /dev/null"
    )
    assert said.text.startswith("core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero")
    assert "touch: cannot touch '/dev/x': Read-only file system" in said.text
    assert "mknod: /tmp/disk: Operation not permitted" in said.text


async def test_the_first_process_cannot_be_ended(vm: BubblewrapBackend) -> None:
    await shell(vm, KEY, "kill -9 1; kill -TERM 1; kill -9 -1")
    assert (await shell(vm, KEY, "echo still here")).text == "still here\n"


async def test_limits_of_a_process(vm: BubblewrapBackend) -> None:
    said = await shell(vm, KEY, "ulimit -c; ulimit -Sn; ulimit -Hn; df -BM --output=size /dev/shm | tail -1")
    assert said.text.split() == ["0", "1024", "4096", "64M"]


async def test_memory_is_limited(vm: BubblewrapBackend) -> None:
    said = await shell(vm, KEY, "python3 -c 'x = bytearray(400 << 20); print(len(x))'")
    assert said.exit_code != 0
    assert "419430400" not in said.text
    oom_kills = (await vm.usage(KEY)).oom_kills
    if "memory" in (await vm.describe()).enforcement and oom_kills is not None:
        assert oom_kills == 1


FORK_UNTIL_REFUSED = """
import os, signal, time
children = []
try:
    while len(children) < 100:
        child = os.fork()
        if child == 0:
            time.sleep(20)
            os._exit(0)
        children.append(child)
except BlockingIOError:
    print("refused")
print(len(children))
for child in children:
    os.kill(child, signal.SIGKILL)
"""


async def test_processes_are_limited(vm: BubblewrapBackend) -> None:
    said = await shell(vm, KEY, f"python3 -c '{FORK_UNTIL_REFUSED}'")
    refused, made = said.text.split()
    assert refused == "refused"
    assert LIMITS.processes // 2 < int(made) < LIMITS.processes


async def test_temporary_file_systems_are_sized(vm: BubblewrapBackend) -> None:
    said = await shell(
        vm, KEY, "for d in /tmp /dev/shm; do head -c 300M /dev/zero > $d/big || echo full; rm $d/big; done"
    )
    assert said.text.count("full\n") == 2


async def test_disk_is_limited_or_a_warning_says_it_is_not(vm: BubblewrapBackend, grade: Grade) -> None:
    said = await shell(vm, KEY, "head -c 40M /dev/zero > ~/big || echo full")
    machine = await vm.inspect(KEY)
    assert machine is not None
    if grade is Grade.ROOT:
        assert "full" in said.text
        assert not any("disk" in warning for warning in machine.warnings)
    else:
        assert any("disk" in warning for warning in machine.warnings)


async def test_what_can_be_written(vm: BubblewrapBackend, grade: Grade) -> None:
    said = await shell(
        vm,
        KEY,
        "for f in ~/x /tmp/x /x /usr/x /usr/local/lib/x /etc/x; do touch $f 2>/dev/null && echo $f; done;"
        "mv /usr/share/perl /usr/share/gone 2>/dev/null && rm -r /usr/share/gone && echo moved;"
        "touch /.vmpool/x 2>/dev/null && echo bad",
    )
    everywhere = ["/home/user/x", "/tmp/x"]
    if grade is Grade.ROOT:
        everywhere += ["/x", "/usr/x", "/usr/local/lib/x", "/etc/x", "moved"]
    assert said.text.split() == everywhere


async def test_two_vms_share_nothing(vm: BubblewrapBackend) -> None:
    other = MachineKey(8)
    await vm.create(other, MachineSpec("box-8", "bash", LIMITS))
    await shell(vm, KEY, "echo mine > ~/x; echo mine > /tmp/x; (sleep 5 &)")
    said = await shell(vm, other, "ls -A ~ /tmp; ls /proc | grep -c '^[0-9]'; hostname")
    assert "x" not in said.text.split()[:-1]
    assert said.text.split()[-1] == "box-8"
    users = set()
    for key in (KEY, other):
        users.add((await shell(vm, key, "readlink /proc/self/ns/user")).text)
    assert len(users) == 2


async def test_the_toolchains_offered_run(vm: BubblewrapBackend) -> None:
    commands = {
        "python": "python3 -c 'print(6 * 7)'",
        "nodejs": "node -e 'console.log(6 * 7)'",
        "bash": "echo $((6 * 7))",
        "java": "javac -version 2>&1 | grep -q javac && echo 42",
        "go": "go version | grep -q go && echo 42",
        "rust": "rustc --version | grep -q rustc && echo 42",
        "typescript": "esbuild --version | grep -q . && node -e 'console.log(6 * 7)'",
        "c": "gcc --version | grep -qi gcc && echo 42",
        "cpp": "g++ --version | grep -qi g++ && echo 42",
        "ruby": "ruby -e 'puts 6 * 7'",
        "php": "php -r 'echo 6 * 7, PHP_EOL;'",
        "perl": "perl -e 'print 6 * 7, qq(\\n)'",
        "python3.11": "python3.11 -c 'print(6 * 7)'",
        "python3.13": "python3.13 -c 'print(6 * 7)'",
    }
    offered = (await vm.describe()).templates
    assert "python" in offered and "bash" in offered
    async with anyio.create_task_group() as tasks:
        for name in offered:
            tasks.start_soon(_expect_42, vm, commands[name])


async def _expect_42(backend: BubblewrapBackend, command: str) -> None:
    assert (await shell(backend, KEY, command)).text == "42\n"


async def test_usage(vm: BubblewrapBackend) -> None:
    before = await vm.usage(KEY)
    assert before.processes == 1
    assert before.disk_bytes is not None
    await shell(vm, KEY, "head -c 10M /dev/urandom > ~/big; python3 -c 'sum(range(3_000_000))'; sync")
    after = await vm.usage(KEY)
    assert after.disk_bytes is not None and after.disk_bytes >= before.disk_bytes + (10 << 20)
    assert after.cpu_seconds is not None and before.cpu_seconds is not None
    assert after.cpu_seconds > before.cpu_seconds
    assert after.memory_bytes is not None and after.memory_bytes > 0


async def test_what_the_hosts_users_may_not_read_is_hidden(
    backend: BubblewrapBackend,
) -> None:
    """In full root the VM's user owns root's files: those not for everybody are not in the VM."""
    closed = await anyio.to_thread.run_sync(Look(root_only_command(("usr",))).found)
    await backend.create(KEY, MachineSpec("box-7", "bash", LIMITS))
    names = " ".join(f"'/{path}'" for path in closed)
    said = await shell(backend, KEY, f"for f in {names}; do test -r $f && echo $f; done; echo end")
    assert said.text == "end\n"
