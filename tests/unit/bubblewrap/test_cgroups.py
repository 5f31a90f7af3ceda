"""Finding where groups may be made, and the files that are written, on both versions."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from vmpool.backends.bubblewrap import cgroups
from vmpool.backends.bubblewrap.cgroups import CgroupTree, Hierarchy, find_tree, parse_hierarchies
from vmpool.domain import Limits

LIMITS = Limits(cpu=1.5, memory=64, processes=32)
V1_MOUNTS = """\
24 1 0:20 / /proc rw - proc proc rw
30 1 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 1 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 1 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
33 1 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V1_OWN = """\
4:memory:/docker/abc
2:cpu,cpuacct:/
9:name=systemd:/user.slice
0::/unified/own
"""


def test_parse_hybrid() -> None:
    assert parse_hierarchies(V1_MOUNTS, V1_OWN) == [
        Hierarchy(Path("/sys/fs/cgroup/memory"), "/docker/abc", frozenset({"memory"})),
        Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), "/", frozenset({"cpu", "cpuacct"})),
        Hierarchy(Path("/sys/fs/cgroup/systemd"), "/user.slice", frozenset({"name=systemd"})),
        Hierarchy(Path("/sys/fs/cgroup/unified"), "/unified/own", frozenset()),
    ]


def test_parse_nothing() -> None:
    assert parse_hierarchies("24 1 0:20 / /proc rw - proc proc rw\n", "") == []


def proc(tmp_path: Path, mountinfo: str, own: str) -> Path:
    directory = tmp_path / "proc"
    directory.mkdir()
    (directory / "mountinfo").write_text(mountinfo)
    (directory / "cgroup").write_text(own)
    return directory


def group(path: Path, **files: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in {"cgroup.procs": "", **files}.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def test_version_1_groups_lie_outside_the_servers_own(tmp_path: Path) -> None:
    memory = group(tmp_path / "memory")
    mounts = f"30 1 0:26 / {memory} rw - cgroup cgroup rw,memory\n"
    tree = find_tree("p", proc(tmp_path, mounts, "4:memory:/a/server.service\n"))
    assert tree == CgroupTree(1, {"memory": memory / "vmpool" / "p"})
    assert tree.holds == {"memory"}


def test_version_2_delegated_below_our_own_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the slice is ours to write and hands something down, as systemd delegates to a user."""
    given = group(tmp_path / "cg/user.slice")

    def enable(directory: Path) -> frozenset[str]:  # the kernel's answer, which no plain file gives
        return frozenset({"memory", "pids"}) if directory.is_relative_to(given) else frozenset()

    monkeypatch.setattr(cgroups, "_enable", enable)
    mounts = f"30 1 0:26 / {tmp_path / 'cg'} rw - cgroup2 cgroup2 rw\n"
    tree = find_tree("p", proc(tmp_path, mounts, "0::/user.slice/own.scope\n"))
    assert tree == CgroupTree(2, dict.fromkeys(("memory", "pids"), given / "vmpool/p"))
    assert tree.holds == {"memory", "processes"}


SWAPS = "Filename Type Size Used Priority\n"
SWAP = "/dev/sda2 partition 1048576 0 -2\n"


@pytest.mark.parametrize(
    ("counted", "swaps", "limited"), [(True, SWAP, True), (False, SWAP, False), (False, "", True)]
)
def test_swap_that_no_group_counts_is_not_limited(
    tmp_path: Path, counted: bool, swaps: str, limited: bool
) -> None:
    """Unless the host has none."""
    memory = group(tmp_path / "memory", **({"memory__memsw__limit_in_bytes": "0"} if counted else {}))
    mounts = f"30 1 0:26 / {memory} rw - cgroup cgroup rw,memory\n"
    (tmp_path / "swaps").write_text(SWAPS + swaps)
    tree = find_tree("p", proc(tmp_path, mounts, "4:memory:/a\n"), tmp_path / "swaps")
    assert tree.limits_swap is limited


def test_no_group_to_be_had(tmp_path: Path) -> None:
    tree = find_tree("p", proc(tmp_path, "", ""))
    assert tree.parents == {}
    assert tree.holds == frozenset()
    assert not tree.can_freeze
    assert tree.make("vm-1-1", LIMITS) == ()
    tree.remove("vm-1-1")
    tree.thaw("vm-1-1")


def test_version_1_files(tmp_path: Path) -> None:
    parents = {name: tmp_path / name for name in ("memory", "cpu", "pids")}
    procs = CgroupTree(1, parents).make("vm-1-1", LIMITS)
    assert sorted(procs) == sorted(f"{tmp_path}/{name}/vm-1-1/cgroup.procs" for name in parents)
    assert (tmp_path / "memory/vm-1-1/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert not (tmp_path / "memory/vm-1-1/memory.memsw.limit_in_bytes").exists()
    assert (tmp_path / "cpu/vm-1-1/cpu.cfs_quota_us").read_text() == "150000"
    assert (tmp_path / "pids/vm-1-1/pids.max").read_text() == "32"


def test_version_2_files(tmp_path: Path) -> None:
    tree = CgroupTree(2, dict.fromkeys(("memory", "cpu", "pids"), tmp_path))
    assert tree.make("vm-1-1", LIMITS) == (f"{tmp_path}/vm-1-1/cgroup.procs",)
    assert tree.holds == {"memory", "cpu", "processes"}
    made = tmp_path / "vm-1-1"
    assert (made / "memory.max").read_text() == str(64 << 20)
    assert (made / "cpu.max").read_text() == "150000 100000"
    assert (made / "pids.max").read_text() == "32"
    (made / "memory.current").write_text("4096\n")
    (made / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    (made / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (made / "pids.current").write_text("5\n")
    usage = tree.usage("vm-1-1")
    assert (usage.cpu_seconds, usage.memory_bytes, usage.processes, usage.oom_kills) == (1.5, 4096, 5, 2)
    assert usage.memory_peak_bytes is None


def test_version_2_freezing(tmp_path: Path) -> None:
    tree = CgroupTree(2, {"memory": tmp_path})
    made = group(tmp_path / "vm-1-1", cgroup__freeze="0", cgroup__events="populated 1\nfrozen 1\n")
    assert tree.freeze("vm-1-1")
    assert (made / "cgroup.freeze").read_text() == "1"
    tree.thaw("vm-1-1")
    assert (made / "cgroup.freeze").read_text() == "0"


def sleeper() -> subprocess.Popen[bytes]:
    """A process in a group of its own, so that what ends its group does not end this one."""
    return subprocess.Popen(["sleep", "60"], start_new_session=True)


def test_what_is_left_in_a_group_is_killed_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0 is the kernel's word for a process outside our PID namespace; kill(2) takes it for our group."""
    killed: list[int] = []
    real = os.kill

    def kill(pid: int, number: int) -> None:
        killed.append(pid)
        if pid > 0:  # else this very process would end
            real(pid, number)

    monkeypatch.setattr(os, "kill", kill)
    member = sleeper()
    try:
        made = group(tmp_path / "vm-1-1", cgroup__procs=f"0\n{member.pid}\n0\n")
        cgroups._kill_members(str(made))
        assert member.wait(10) == -signal.SIGKILL
    finally:
        member.kill()
        member.wait()
    assert killed == [member.pid]


def test_version_2_kills_a_group_at_once(tmp_path: Path) -> None:
    bystander = sleeper()
    try:
        made = group(tmp_path / "vm-1-1", cgroup__kill="", cgroup__procs=f"{bystander.pid}\n")
        cgroups._kill_members(str(made))
        assert (made / "cgroup.kill").read_text() == "1"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize(("cpu", "quota"), [(0.5, "50000"), (0.001, "1000"), (4.0, "400000")])
def test_quota(tmp_path: Path, cpu: float, quota: str) -> None:
    CgroupTree(1, {"cpu": tmp_path}).make("v", Limits(cpu=cpu))
    assert (tmp_path / "v/cpu.cfs_quota_us").read_text() == quota
