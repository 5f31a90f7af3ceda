"""A VM's disk: an ext4 image of its own (the limit is hard), or a directory (it is not)."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from tempfile import mkdtemp

from vmpool.errors import BackendFailed

MB = 1 << 20
SMALLEST_IMAGE_MB = 8
FICLONE = 0x40049409
COPY_CHUNK = 1 << 26
SIZES_KEPT, COPIED_SECONDS = 16, 60.0
"""Empty disks that are kept, and how long one is kept in any case, for whoever is about to copy it."""
RELEASE_SECONDS = 20.0
E2FSCK_CORRECTED = 2
"""The largest exit status of e2fsck that leaves a whole file system."""
STATE_OFFSET, STATE_VALID = 1024 + 0x3A, 1
"""Of an ext4 superblock's state; the kernel takes the bit away while it is mounted without a journal."""
MKFS_OPTIONS = (
    "-q",
    "-F",
    "-m",
    "0",
    "-O",
    "^has_journal,^resize_inode",
    "-E",
    "lazy_itable_init=1,nodiscard",
)
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
COPY_TREE = ("cp", "--archive", "--reflink=auto", "--sparse=always")
"""Copies a directory with owners, modes, links, times and attributes; run as root of a user namespace."""


def system_program(name: str) -> str | None:
    """Where it is, also for a user whose PATH lacks the sbin directories."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{SBIN}")


def mkfs_program() -> str | None:
    """mkfs.ext4, without which there are no disk images."""
    return system_program("mkfs.ext4")


def was_left_mounted(image: Path) -> bool:
    """Whether the host went down, or is just being used, while the disk was mounted."""
    with image.open("rb") as file:
        file.seek(STATE_OFFSET)
        return not file.read(1)[0] & STATE_VALID


def repair(image: Path) -> None:
    """Make a disk whole again that was mounted when the host went down; it has no journal."""
    e2fsck = system_program("e2fsck")
    if e2fsck is None:
        raise BackendFailed("e2fsck is gone; install e2fsprogs")
    checked = subprocess.run([e2fsck, "-f", "-y", image], capture_output=True, text=True, check=False)
    if checked.returncode > E2FSCK_CORRECTED:
        raise BackendFailed(f"the VM's disk cannot be repaired: {checked.stdout.strip()[-500:]}")


def grow(image: Path, megabytes: int) -> None:
    """Make an image larger that nothing has mounted; a larger one stays as it is.

    The lock that a loop device would hold is held by the programs that do it, so that nobody mounts the disk
    before they have ended, whatever becomes of this process.  BackendFailed while it is mounted.
    """
    resize2fs, e2fsck = system_program("resize2fs"), system_program("e2fsck")
    if resize2fs is None or e2fsck is None:
        raise BackendFailed("resize2fs is gone; install e2fsprogs")
    fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackendFailed("the VM's disk is still in use") from None
        os.ftruncate(fd, max(os.fstat(fd).st_size, megabytes * MB))
        for program, most in ((e2fsck, E2FSCK_CORRECTED), (resize2fs, 0)):
            words = [program, *(("-f", "-y") if program is e2fsck else ()), f"/proc/self/fd/{fd}"]
            done = subprocess.run(words, capture_output=True, text=True, pass_fds=(fd,), check=False)
            if done.returncode > most:
                raise BackendFailed(f"the VM's disk cannot grow: {done.stderr.strip()[-500:]}")
    finally:
        os.close(fd)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a file by reference where the file system can, else only the parts that hold data."""
    with source.open("rb") as reader, target.open("xb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), FICLONE, reader.fileno())
            return
        except OSError:
            copy_data(reader.fileno(), writer.fileno())


def copy_data(reader: int, writer: int) -> None:
    """Copy the parts of one open file that hold data to another, which gets its size."""
    size = os.fstat(reader).st_size
    os.ftruncate(writer, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(reader, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole to the end
            return
        hole = os.lseek(reader, at, os.SEEK_HOLE)
        while at < hole:
            copied = _copy_range(reader, writer, at, min(COPY_CHUNK, hole - at))
            if copied == 0:
                return
            at += copied


def _copy_range(reader: int, writer: int, at: int, length: int) -> int:
    try:
        return os.copy_file_range(reader, writer, length, at, at)
    except OSError as failed:
        if failed.errno != errno.EXDEV:  # two kinds of file system
            raise
        return os.pwrite(writer, os.pread(reader, min(length, MB), at), at)


def empty_image(images: Path, megabytes: int) -> Path:
    """An empty formatted disk of this size, made once and kept while few other sizes are asked for.

    It may be gone a minute later: callers copy it at once.
    """
    megabytes = max(megabytes, SMALLEST_IMAGE_MB)
    target = images / f"{megabytes}.ext4"
    with _KEEPING:
        if target.exists():
            target.touch()
            return target
        _forget_sizes(images)
    mkfs = mkfs_program()
    if mkfs is None:
        raise BackendFailed("mkfs.ext4 is gone; install e2fsprogs")
    building = Path(mkdtemp(prefix=".new-", dir=images))
    try:
        image = building / "image"
        with image.open("xb") as file:
            file.truncate(megabytes * MB)
        made = subprocess.run([mkfs, *MKFS_OPTIONS, image], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise BackendFailed(f"cannot format a disk of {megabytes} MB: {made.stderr.strip()[:500]}")
        image.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return target


_KEEPING = threading.Lock()
"""Looking whether a size is in use, and saying that it is."""


def _forget_sizes(images: Path) -> None:
    """Remove sizes that were not asked for in a while: asking for another each time fills no disk."""
    by_use = sorted((image.stat().st_mtime, image) for image in images.glob("*.ext4"))
    for used, image in by_use[: max(0, len(by_use) - SIZES_KEPT + 1)]:
        if used < time.time() - COPIED_SECONDS:
            image.unlink()


def wait_until_released(image: Path, seconds: float = RELEASE_SECONDS) -> None:
    """Wait until no VM has the image mounted; BackendFailed after `seconds`.

    The launcher's lock on the image lives as long as the loop device, which outlives the VM's last process by
    the time an unmount takes.
    """
    deadline = time.monotonic() + seconds
    try:
        fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BackendFailed("the VM's disk is still in use") from None
                time.sleep(0.002)
    finally:
        os.close(fd)


def write_out(image: Path) -> None:
    """Have the image on the host's disk, where there is one."""
    try:
        fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def filesystem_use(path: Path) -> int | None:
    """Bytes in use on the file system `path` is on; None where it cannot be seen."""
    try:
        status = os.statvfs(path)
    except OSError:
        return None
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def tree_use(path: Path) -> int:
    """Bytes on disk below `path`, as far as this user can look."""
    total = 0
    pending = [path]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append(Path(entry.path))
            except OSError:
                continue
    return total
