"""What a machine leaves on the host, looked for from outside."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def processes_mentioning(*marks: str) -> list[str]:
    """Processes of the host with one of the marks in their command line, environment or control groups."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            text = b"".join((entry / name).read_bytes() for name in ("cmdline", "environ", "cgroup"))
        except OSError:
            continue
        if any(mark.encode() in text for mark in marks):
            found.append(f"process {entry.name}: {text[:60].decode(errors='replace')}")
    return found


def mounts_mentioning(*marks: str) -> list[str]:
    """Mounts of this mount namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [f"mount {line}" for line in lines if any(mark in line for mark in marks)]


def groups_mentioning(*marks: str) -> list[str]:
    """Control groups, down to four levels below the hierarchies; others come and go meanwhile."""
    root = "/sys/fs/cgroup"
    found = []
    for path, directories, _ in os.walk(root):  # passes over what has just gone
        found += [f"cgroup {path}/{name}" for name in directories if any(mark in name for mark in marks)]
        if path.count("/") - root.count("/") >= 4:
            directories.clear()
    return found


def loops_mentioning(*marks: str) -> list[str]:
    """Loop devices with a backing file."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            text = backing.read_text().strip()
        except OSError:
            continue
        if any(mark in text for mark in marks):
            found.append(f"loop device of {text}")
    return found


def left_behind(pool_id: str, directory: Path | None = None) -> list[str]:
    """Everything on the host that still speaks of this pool."""
    marks = (pool_id,) if directory is None else (pool_id, str(directory))
    return [
        *processes_mentioning(*marks),
        *mounts_mentioning(*marks),
        *groups_mentioning(*marks),
        *loops_mentioning(*marks),
    ]


def bearers_of(token: str) -> list[psutil.Process]:
    """Processes of the host whose environment holds the token, however deep in a machine they run."""
    found = []
    for process in psutil.process_iter():
        try:
            if token in process.environ().values():
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def listening(pids: set[int]) -> list[tuple[str, int]]:
    """Addresses on which these processes listen in the host's network."""
    return [
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.pid in pids and connection.laddr
    ]
