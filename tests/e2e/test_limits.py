"""Limits as a user meets them, on each real backend: what a program past one hears, and that its VM lives."""

from __future__ import annotations

import pytest

from vmpool.client import errors

from .pools import Pool

pytestmark = pytest.mark.timeout(120)

HOG = "x = b'x' * (200 << 20)\nprint(len(x) >> 20)"
OPEN_FILES = """
import errno, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
held = []
try:
    while True:
        held.append(open('/dev/null'))
except OSError as error:
    refusal = errno.errorcode[error.errno]
print(len(held) > 4000, len(held) <= 4096, refusal)
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4097, 4097))
except (OSError, ValueError):
    print('no more')
"""
FORKS = """
import os, time
made = 0
try:
    while made < 300:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
except OSError:
    pass
print(made)
"""


def test_a_program_past_a_limit_ends_and_its_vm_lives(pool: Pool) -> None:
    held = pool.client.pool_status().backend.enforcement
    with pool.client.create_vm("box", "python", memory_limit=128, process_limit=60) as vm:
        killed = vm.execute(HOG)
        assert killed.exit_code != 0
        assert killed.oom_killed is ("cgroup" in held["memory"])
        assert not vm.execute("raise SystemExit(137)").oom_killed
        assert vm.execute(OPEN_FILES).output == "True True EMFILE\nno more\n"
        assert 20 < int(vm.execute(FORKS).output or "0") < 60
        assert vm.refresh().status == "running"
        assert vm.execute("print('alive')").output == "alive\n"
        if "cgroup" in held["memory"]:
            larger = vm.change_limits(memory_limit=400)
            assert larger.memory_limit == 400
            assert vm.execute(HOG).output == "200\n"
            assert (vm.usage().oom_kills or 0) >= 1


def test_hard_limits_are_to_be_had_or_refused_as_published(pool: Pool) -> None:
    backend = pool.client.pool_status().backend
    soft = backend.soft_limits[backend.isolation]
    if soft:
        with pytest.raises(errors.LimitsNotHard):
            pool.client.create_vm("box", "bash", strict_limits=True)
        return
    with pool.client.create_vm("box", "bash", strict_limits=True, disk_limit=16) as vm:
        assert vm.warnings == []
        full = vm.execute("head -c 20M /dev/zero > ~/fill; rm ~/fill; echo gone")
        assert "No space left" in (full.error or "")
        assert full.output == "gone\n"
