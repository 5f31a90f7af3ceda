"""Loop devices: a disk image as a block device, detached with its last user.  Everything blocks."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from pathlib import Path

_CONFIGURE, _GET_FREE, _GET_STATUS = 0x4C0A, 0x4C82, 0x4C05
_READ_ONLY, _AUTOCLEAR = 1, 4
_ATTEMPTS = 64
_MAJOR = 7
_DETAILS = struct.Struct("5Q 4I 64s 64s 32s 2Q")
"""`struct loop_info64` of the kernel."""
_CONFIGURATION = struct.Struct(f"II {_DETAILS.size}s 64x")
"""`struct loop_config`: the file, the block size, details, and what is reserved."""


def attach(image: Path) -> tuple[int, str]:
    """A descriptor of the image's loop device, and the device's path; the caller closes the descriptor.

    The device keeps the lock on the image for as long as it lives, so that no image ever has two: one that
    is attached already is answered with the device it has.
    """
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            device = _device_of(file)
            return os.open(device, os.O_RDWR | os.O_CLOEXEC), device
        return _configure(file, str(image))
    finally:
        os.close(file)


def attach_read_only(image: Path) -> tuple[int, str]:
    """The same for an image that nothing writes to; each call has a device of its own."""
    file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _configure(file, str(image), _READ_ONLY)
    finally:
        os.close(file)


def _configure(file: int, name: str, flags: int = 0) -> tuple[int, str]:
    details = _DETAILS.pack(*(0,) * 8, _AUTOCLEAR | flags, os.fsencode(name)[:63], b"", b"", 0, 0)
    wanted = _CONFIGURATION.pack(file, 0, details)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            number = fcntl.ioctl(control, _GET_FREE)
            device = _node(number)
            opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(opened, _CONFIGURE, wanted)
            except OSError as failed:
                os.close(opened)
                if failed.errno != errno.EBUSY:  # another was quicker
                    raise
            else:
                return opened, device
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no free loop device")


def _node(number: int) -> str:
    """The device's path; a container's /dev does not grow by itself."""
    device = Path(f"/dev/loop{number}")
    if not device.exists():
        os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(_MAJOR, number))
    return str(device)


def _device_of(file: int) -> str:
    """The loop device that has this file; BlockingIOError where its lock is held by something else."""
    facts = os.fstat(file)
    for bound in Path("/sys/block").glob("loop*/loop"):
        device = _node(int(bound.parent.name.removeprefix("loop")))
        try:
            if _backing(device) == (facts.st_dev, facts.st_ino):
                return device
        except OSError:  # it has just let go
            continue
    raise BlockingIOError(errno.EAGAIN, "the disk is in use")


def _backing(device: str) -> tuple[int, int]:
    """Device and inode of the file behind a loop device."""
    opened = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        details = fcntl.ioctl(opened, _GET_STATUS, bytes(_DETAILS.size))
    finally:
        os.close(opened)
    device_number, inode = _DETAILS.unpack(details)[:2]
    return device_number, inode
