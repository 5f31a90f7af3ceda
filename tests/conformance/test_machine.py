"""A machine is as promised: user, names, directories, limits one can see."""

from __future__ import annotations

import pytest

from tests.conformance.backends import Power
from tests.conformance.box import Box
from vmpool.domain.limits import OPEN_FILES_HARD, SHARED_MEMORY_MB

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
real = pytest.mark.requires(Power.REAL_PROGRAMS)
host_kernel = pytest.mark.requires(Power.REAL_PROGRAMS, Power.HOST_KERNEL)


async def test_the_hostname_is_the_name(box: Box) -> None:
    assert await box.output("hostname") == "box"


async def test_the_user(box: Box) -> None:
    assert await box.output("id -u") == "1000"


@real
async def test_who_the_user_is(box: Box) -> None:
    assert await box.output("id -un; id -g; id -gn; whoami") == "user\n1000\nuser\nuser"
    assert await box.output("getent passwd user | cut -d: -f6") == "/home/user"
    assert await box.output("cd; pwd") == "/home/user"


async def test_umask(box: Box) -> None:
    assert await box.output("umask") == "0022"


@real
async def test_locale_and_time_zone(box: Box) -> None:
    code = (
        "import locale, sys, time\nprint(locale.getpreferredencoding(), sys.stdout.encoding, time.tzname[0])"
    )
    assert (await box.python(code)).stdout.decode().split() == ["UTF-8", "utf-8", "UTC"]


@real
async def test_every_place_one_writes_to_is_there(box: Box) -> None:
    await box.output(
        "for d in /home/user /tmp /dev/shm /var/tmp; do echo x > $d/probe && rm $d/probe || exit 1; done"
    )


@real
async def test_devices(box: Box) -> None:
    await box.output(
        "echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c;"
        "test -e /dev/ptmx; test -e /proc/self/fd/0; readlink /dev/fd /dev/stdin >/dev/null"
    )


@real
async def test_its_own_etc(box: Box) -> None:
    hosts = await box.output("cat /etc/hosts")
    assert "localhost" in hosts
    assert (await box.sh("getent hosts localhost")).exit.exit_code == 0
    assert await box.output("cat /etc/hostname 2>/dev/null || hostname") == "box"


@real
async def test_open_files_and_core_dumps(box: Box) -> None:
    code = "import resource as r\nprint(r.getrlimit(r.RLIMIT_NOFILE)[1], r.getrlimit(r.RLIMIT_CORE)[0])"
    rlimits = {7: (1024, OPEN_FILES_HARD)}
    assert (await box.python(code, rlimits=rlimits)).stdout == b"%d 1\n" % OPEN_FILES_HARD


@host_kernel
async def test_the_agent_is_process_one(box: Box) -> None:
    assert await box.output("cat /proc/1/comm") == "vmpool-agent"
    assert (await box.client.stats()).u64("processes") >= 1


@real
async def test_process_one_gives_nothing_away(box: Box) -> None:
    """gVisor opens its environment to whoever has the same user: then there is nothing in it."""
    assert (await box.sh("cat /proc/1/environ")).stdout.strip(b"\0") == b""
    assert (await box.sh("head -c 1 /proc/1/mem")).exit.exit_code != 0
    code = (
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "attach, seize = 16, 0x4206\n"
        "print(libc.ptrace(attach, 1, 0, 0), libc.ptrace(seize, 1, 0, 0))\n"
    )
    assert (await box.python(code)).stdout == b"-1 -1\n"


@host_kernel
async def test_process_one_is_not_readable(box: Box) -> None:
    for name in ("environ", "mem", "maps"):
        assert (await box.sh(f"cat /proc/1/{name}")).exit.exit_code != 0


@host_kernel
async def test_every_tmpfs_is_bounded_in_bytes_and_files(box: Box) -> None:
    """Filling one must not fill the host's memory, and a file takes some even if it is empty."""
    code = (
        "import os\n"
        "for line in open('/proc/mounts'):\n"
        "    _, where, kind, options, *_ = line.split()\n"
        "    if kind == 'tmpfs' and os.path.isdir(where):\n"
        "        s = os.statvfs(where)\n"
        "        print(where, s.f_blocks * s.f_frsize, s.f_files, not os.access(where, os.W_OK))\n"
    )
    disk = 1024 << 20
    for line in (await box.python(code)).stdout.decode().splitlines():
        where, size, files, closed = line.rsplit(" ", 3)
        assert closed == "True" or 0 < int(size) <= disk, line
        assert closed == "True" or 0 < int(files) <= disk >> 14, line
        if where == "/dev/shm":
            assert int(size) == SHARED_MEMORY_MB << 20


@host_kernel
async def test_shared_memory_ends_where_it_should(box: Box) -> None:
    captured = await box.sh(
        f"head -c {(SHARED_MEMORY_MB + 8) << 20} /dev/zero > /dev/shm/fill; rm -f /dev/shm/fill"
    )
    assert b"No space left" in captured.stderr


@real
async def test_figures(box: Box) -> None:
    usage = await box.backend.usage(box.key)
    assert usage.processes is not None
    assert usage.processes >= 1
