"""What sandboxes cost in memory, as the kernel accounts it: PSS, a page's size divided among who maps it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

PROC = Path("/proc")


def pss_of(rollup: str) -> int:
    """Bytes that `smaps_rollup` names as Pss; 0 where it names none (a process that has ended)."""
    for line in rollup.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def pss(pids: Iterable[int]) -> int:
    """Bytes of these processes together."""
    return sum(pss_of(_read(PROC / str(pid) / "smaps_rollup")) for pid in pids)


def in_cgroups(marks: Sequence[str]) -> list[int]:
    """Processes whose control groups' paths have one of `marks` in them."""
    return [pid for pid in _pids() if any(mark in _read(PROC / str(pid) / "cgroup") for mark in marks)]


def namespaces() -> set[str]:
    """Every process namespace there is now."""
    return {_namespace(pid) for pid in _pids()}


def in_new_namespaces(before: set[str]) -> list[int]:
    """Processes whose process namespace is not in `before`."""
    return [pid for pid in _pids() if _namespace(pid) not in before]


def containers(docker: str, names: Sequence[str]) -> list[tuple[str, int]]:
    """Id and first process of each running container of these names."""
    answer = subprocess.run(
        [docker, "inspect", "--format", "{{.Id}} {{.State.Pid}}", *names],
        capture_output=True,
        text=True,
        check=True,
    )
    return [(line.split()[0], int(line.split()[1])) for line in answer.stdout.splitlines()]


def parent(pid: int) -> int:
    """A process's parent; 0 when it has ended."""
    for line in _read(PROC / str(pid) / "status").splitlines():
        if line.startswith("PPid:"):
            return int(line.split()[1])
    return 0


def tree(root: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        children.setdefault(parent(pid), []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it has ended meanwhile
        return ""


def _namespace(pid: int) -> str:
    try:
        return str((PROC / str(pid) / "ns" / "pid").readlink())
    except OSError:
        return ""
