"""A disk image over a container's layer, so that the whole root together is held to the disk limit.

The image is a file in the layer's own directory, and is mounted over that directory: upper and work
directory of the container's overlay then lie on a file system of the VM's size.  So it belongs to the engine
like the layer itself, and whoever removes the container removes it; nothing of it is kept anywhere else.  The
mount is made where the engine sees it, in its mount namespace, whole or not at all: a server killed at any
point leaves either the plain layer or the finished disk.  It stays while the container is stopped; what the
host's going down takes away is made again before a start.

All of it takes root on the engine's host.  Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vmpool.backends import disks, kernel, loops
from vmpool.backends.docker.local import Init, NotLocal, pinned
from vmpool.errors import BackendFailed, BackendUnreachable

T = TypeVar("T")

IMAGE = "disk.ext4"
ENGINE, ACTIVATOR = "dockerd", 1
"""Who may listen at its socket: itself, or the service manager that starts it at the first connection."""
SECTOR = 512
OPTIONS: dict[str, str | None] = {"noinit_itable": None, "discard": None, "nobarrier": None}
"""As the bubblewrap backend mounts its disks (agent/launch_mounts.c)."""
_UCRED = struct.Struct("3i")
_LINKS, _DIRECTORIES = ("link", "lower"), ("diff", "work")
"""What overlay2 keeps in a layer's directory."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of one engine.  socket_path: where it listens.  images: empty formatted disks, by size."""

    socket_path: str
    images: Path

    def prove(self, data_root: str) -> None:
        """Mount the smallest disk where the engine keeps its layers, seen by nobody; NotLocal, BackendFailed.

        data_root: the engine's directory.  What the host refuses comes as OSError.
        """
        self.images.mkdir(parents=True, exist_ok=True)
        empty = disks.empty_image(self.images, disks.SMALLEST_IMAGE_MB)

        def attempt() -> None:
            if not Path(data_root, "overlay2").is_dir():
                raise NotLocal(f"the engine does not keep its layers in {data_root} here")
            image = os.open(data_root, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                disks.copy_data(source.fileno(), image)
                loop, device = loops.attach(Path(f"/proc/self/fd/{image}"))
                try:
                    os.close(kernel.mount_unseen(device, "ext4", OPTIONS))
                finally:
                    os.close(loop)
            finally:
                os.close(image)

        with empty.open("rb") as source:
            self._where_the_engine_is(attempt)

    def put(self, layer: str, megabytes: int) -> None:
        """Have the disk over the layer: a new one for a container that has never run, else the one it has.

        megabytes: the size of a new one.
        """
        empty = disks.empty_image(self.images, megabytes)
        with empty.open("rb") as source:
            self._where_the_engine_is(lambda: _put(Path(layer), Path(f"/proc/self/fd/{source.fileno()}")))

    def put_back(self, layer: str) -> None:
        """Have the disk over the layer that it has; BackendFailed where it has none."""
        self._where_the_engine_is(lambda: _put(Path(layer), None))

    def size(self, layer: str) -> int | None:
        """MB of the disk over the layer, mounted or not; None where there is none."""

        def work() -> int | None:
            if os.path.ismount(layer):
                number = os.minor(Path(layer).stat().st_dev)
                return int(Path(f"/sys/block/loop{number}/size").read_text()) * SECTOR // disks.MB
            image = Path(layer, IMAGE)
            return image.stat().st_size // disks.MB if image.exists() else None

        return self._where_the_engine_is(work)

    def grow(self, layer: str, megabytes: int) -> None:
        """Make the disk of a container that does not run larger."""

        def work() -> None:
            if os.path.ismount(layer):
                kernel.unmount(layer)
            disks.grow(Path(layer, IMAGE), megabytes)
            _put(Path(layer), None)

        self._where_the_engine_is(work)

    def used(self, layer: str) -> int | None:
        """Bytes in use on the disk; None where it is not mounted."""
        return self._where_the_engine_is(
            lambda: disks.filesystem_use(Path(layer)) if os.path.ismount(layer) else None
        )

    def check(self, layer: str, init: Init) -> None:
        """BackendFailed unless the container runs on the disk over its layer."""
        size = self._where_the_engine_is(lambda: _size(layer))
        with pinned(init) as process:
            if _size(f"/proc/self/fd/{process}/root") != size:
                raise BackendFailed("the engine did not take the VM's disk; nothing would hold its limit")

    def take_away(self, layer: str) -> None:
        """Before the container is removed: the file system goes as a whole instead of file by file.

        What cannot be taken away now goes with the engine's own removal.
        """

        def work() -> None:
            try:
                if os.path.ismount(layer):
                    kernel.unmount(layer)
            except OSError as failed:
                if failed.errno not in (errno.EBUSY, errno.EINVAL, errno.ENOENT):
                    raise

        self._where_the_engine_is(work)

    def write_out(self, layer: str) -> None:
        """Have what the VM wrote on the host's disk."""

        def work() -> None:
            directory = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if not os.path.ismount(layer):
                    return
                kernel.sync_file_system(directory)
                device = os.open(
                    f"/dev/loop{os.minor(os.fstat(directory).st_dev)}", os.O_RDONLY | os.O_CLOEXEC
                )
            finally:
                os.close(directory)
            try:
                os.fsync(device)
            finally:
                os.close(device)

        self._where_the_engine_is(work)

    def _where_the_engine_is(self, work: Callable[[], T]) -> T:
        return kernel.in_mounts_of(f"/proc/{engine_process(self.socket_path)}", work)


def engine_process(socket_path: str) -> int:
    """The process that listens at the engine's socket.

    NotLocal where it is not one of this host's, BackendUnreachable where nobody listens.
    """
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(socket_path)
            answer = asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError as error:
        raise BackendUnreachable(f"the Docker engine's socket does not answer: {error}") from error
    pid: int = _UCRED.unpack(answer)[0]
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError as error:
        raise NotLocal("the engine's process is not to be seen from here") from error
    if name != ENGINE and pid != ACTIVATOR:
        raise NotLocal(f"the engine's socket belongs to {name}, which hands on what it is told")
    return pid


def _size(path: str) -> int:
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize


def _put(layer: Path, empty: Path | None) -> None:
    if os.path.ismount(layer):
        return
    image = layer / IMAGE
    if not image.exists():
        if empty is None:
            raise BackendFailed("the VM's disk is gone; delete the VM, or restore a snapshot")
        whole = layer / f"{IMAGE}.new"
        whole.unlink(missing_ok=True)  # a killed server's
        disks.copy_sparse(empty, whole)
        whole.rename(image)
    _mount(image, layer)


def _mount(image: Path, layer: Path) -> None:
    loop, device = loops.attach(image)
    try:
        if disks.was_left_mounted(image) and not _in_use(device):
            disks.repair(Path(device))
        mount = kernel.mount_unseen(device, "ext4", OPTIONS)
        try:
            _fill(mount, layer)
            kernel.attach(mount, str(layer))
        finally:
            os.close(mount)
    finally:
        os.close(loop)


def _in_use(device: str) -> bool:
    """Whether the device is mounted somewhere, as where an engine went down and its containers did not."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as failed:
        return failed.errno == errno.EBUSY
    return False


def _fill(mount: int, layer: Path) -> None:
    """What overlay2 looks for in a layer's directory, with its owners and modes.  Idempotent.

    A directory is there only with what it has to have: the VM may have given its root other modes since.
    """
    own = layer.stat()
    for name in _LINKS:
        if (layer / name).exists():
            _write(mount, name, (layer / name).read_bytes())
    for name in _DIRECTORIES:
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=mount, follow_symlinks=False)
            continue
        made = f"{name}.new"
        with suppress(FileExistsError):  # a killed server's
            os.mkdir(made, 0o700, dir_fd=mount)
        like = (layer / name).stat() if (layer / name).exists() else own
        _dress(mount, made, like)
        os.rename(made, name, src_dir_fd=mount, dst_dir_fd=mount)
    _dress(mount, ".", own)


def _write(mount: int, name: str, data: bytes) -> None:
    file = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=mount
    )
    with open(file, "wb") as writer:  # noqa: PTH123 - no path
        writer.write(data)


def _dress(mount: int, name: str, like: os.stat_result) -> None:
    os.chown(name, like.st_uid, like.st_gid, dir_fd=mount)
    os.chmod(name, stat.S_IMODE(like.st_mode), dir_fd=mount)
