"""A container seen from the host it runs on: its agent's socket and its cgroup's figures.

The guest's files are reached through `/proc/<pid>/root`, so no directory of the host is shared with the
VM.  Everything below that root belongs to the guest and is hostile: no link is followed, only a socket is
connected to, and the peer must be the container's own first process.  All of it needs root on the engine's
host; where something is missing, `NotLocal` says so and the engine's exec serves instead.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from anyio import connect_unix, to_thread
from anyio.abc import SocketAttribute, UNIXSocketStream

from vmpool.backends.base import Usage
from vmpool.backends.docker.spec import SOCKET, SOCKET_DIR

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UCRED = struct.Struct("3i")
CGROUPS = Path("/sys/fs/cgroup")


class NotLocal(Exception):
    """The container's processes are not to be seen or not to be entered from here."""


class NoSocket(Exception):
    """The container is here and its agent's socket is not, or it is not the agent's."""


@dataclass(frozen=True, slots=True)
class Init:
    """A container's first process, as the engine reports it."""

    pid: int
    container_id: str


async def dial_local(init: Init) -> UNIXSocketStream:
    """Connect to the agent's socket inside the container; NotLocal, NoSocket."""
    process, found = await to_thread.run_sync(_find_socket, init)
    try:
        try:
            stream = await connect_unix(f"/proc/self/fd/{found}")
        except OSError as error:
            raise NoSocket(f"the agent's socket does not answer: {error}") from error
        try:
            credentials = stream.extra(SocketAttribute.raw_socket).getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
            )
            peer = _UCRED.unpack(credentials)[0]
            # The process was pinned before connecting and still lives, so its number cannot be another's.
            if peer != init.pid or not await to_thread.run_sync(_is_of, process, init.container_id):
                raise NoSocket(f"process {peer}, not the agent, listens at {SOCKET}")
        except BaseException:
            await stream.aclose()
            raise
        return stream
    finally:
        os.close(found)
        os.close(process)


async def protect_socket(init: Init) -> None:
    """Take the socket's directory from the guest, who then cannot remove or replace it.

    Called before any of the guest's code runs.  NotLocal, NoSocket.
    """
    await to_thread.run_sync(_protect, init)


def _find_socket(init: Init) -> tuple[int, int]:
    """Descriptors of the process's /proc directory and of the socket; the caller closes both."""
    with _entered(init) as (process, root):
        with _walked(root, SOCKET_DIR) as directory:
            try:
                found = os.open(
                    PurePosixPath(SOCKET).name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
                )
            except OSError as error:
                raise NoSocket(f"there is no {SOCKET}: {error.strerror}") from error
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            os.close(found)
            raise NoSocket(f"{SOCKET} is not a socket")
        return os.dup(process), found


def _protect(init: Init) -> None:
    with _entered(init) as (_process, root), _walked(root, SOCKET_DIR) as directory:
        # An O_PATH descriptor cannot be changed itself, its entry in /proc can.
        os.chown(f"/proc/self/fd/{directory}", 0, 0)
        os.chmod(f"/proc/self/fd/{directory}", 0o755)  # noqa: PTH101 - a descriptor, not a path


@contextmanager
def pinned(init: Init) -> Iterator[int]:
    """The process's directory in /proc, after seeing that it is the container's; it cannot become another's.

    NotLocal where it cannot be seen from here.
    """
    try:
        process = os.open(f"/proc/{init.pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotLocal(f"process {init.pid} is not to be seen from here") from error
    try:
        if not _is_of(process, init.container_id):
            raise NotLocal(f"process {init.pid} is not in the container's cgroup")
        yield process
    finally:
        os.close(process)


@contextmanager
def _entered(init: Init) -> Iterator[tuple[int, int]]:
    """The process's directory in /proc and its root directory."""
    with pinned(init) as process:
        root = _root_of(process)
        try:
            yield process, root
        finally:
            os.close(root)


def _root_of(process: int) -> int:
    try:
        return os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process)
    except OSError as error:
        raise NotLocal(f"its root may not be entered: {error.strerror}") from error


@contextmanager
def _walked(root: int, path: str) -> Iterator[int]:
    """The directory at `path` below `root`, reached without following any link."""
    directory = os.dup(root)
    try:
        for part in PurePosixPath(path).parts[1:]:
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=directory)
            except OSError as error:
                raise NoSocket(f"there is no directory {path}: {error.strerror}") from error
            os.close(directory)
            directory = inner
        yield directory
    finally:
        os.close(directory)


def _is_of(process: int, container_id: str) -> bool:
    """Whether the engine put this process into the container's cgroup (which no guest can claim)."""
    return container_id in cgroup_text(process)


def cgroup_text(process: int) -> str:
    """What the kernel says of a process's cgroups, by its directory in /proc; "" once it is gone."""
    try:
        descriptor = os.open("cgroup", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    except OSError:
        return ""  # the process is gone
    with open(descriptor, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no path
        try:
            return file.read()
        except OSError:
            return ""


async def usage_local(init: Init) -> Usage:
    """The cgroup's own figures, both versions; NotLocal where they cannot be read."""
    return await to_thread.run_sync(_usage, init)


def _usage(init: Init) -> Usage:
    with pinned(init) as process:
        text = cgroup_text(process)
    paths = cgroup_paths(text)
    if "memory" in paths:
        return _usage_v1(paths)
    if "" in paths:
        return _usage_v2(CGROUPS / paths[""].lstrip("/"))
    raise NotLocal("the host's cgroups are not mounted at /sys/fs/cgroup")


def cgroup_paths(text: str) -> dict[str, str]:
    """Controller to path from the text of /proc/<pid>/cgroup; the unified hierarchy is named ""."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _number, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _usage_v1(paths: dict[str, str]) -> Usage:
    def directory(controller: str) -> Path:
        return CGROUPS / controller / paths.get(controller, "/missing").lstrip("/")

    memory, nanoseconds = directory("memory"), _number(directory("cpuacct") / "cpuacct.usage")
    return Usage(
        cpu_seconds=None if nanoseconds is None else nanoseconds / 1e9,
        memory_bytes=_number(memory / "memory.usage_in_bytes"),
        memory_peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
        processes=_number(directory("pids") / "pids.current"),
        oom_kills=_number(memory / "memory.oom_control", "oom_kill"),
    )


def _usage_v2(directory: Path) -> Usage:
    microseconds = _number(directory / "cpu.stat", "usage_usec")
    return Usage(
        cpu_seconds=None if microseconds is None else microseconds / 1e6,
        memory_bytes=_number(directory / "memory.current"),
        memory_peak_bytes=_number(directory / "memory.peak"),
        processes=_number(directory / "pids.current"),
        oom_kills=_number(directory / "memory.events", "oom_kill"),
    )


def _number(file: Path, field: str | None = None) -> int | None:
    """The number in a cgroup's file, or the one after `field` in it; None if there is no such."""
    try:
        text = file.read_text()
    except OSError:
        return None
    if field is None:
        return int(text)
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == field:
            return int(value)
    return None
