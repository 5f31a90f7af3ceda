"""Calls of the kernel that Python's library lacks: namespaces, and mounts that are made before they are seen.

Everything here blocks, and raises OSError.  The numbers are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

CLONE_FS, CLONE_NEWNS, CLONE_NEWUTS = 0x00000200, 0x00020000, 0x04000000
_MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT = 429, 430, 431, 432
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_CLOEXEC = 1
_FROM_EMPTY_PATH = 4
_UMOUNT_NOFOLLOW = 8
_NOSUID_NODEV_NOATIME = 0x2 | 0x4 | 0x10

_LIBC = ctypes.CDLL(None, use_errno=True)


def _checked(answer: int) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def setns(namespace: int, kind: int) -> None:
    """Move this thread into a namespace, given by a descriptor."""
    _checked(_LIBC.setns(namespace, kind))


def in_mounts_of(process: str, work: Callable[[], T]) -> T:
    """Call `work` where every path is as another process sees it; `process` is its directory in /proc.

    It runs in a thread that ends with it: a thread once moved keeps a root directory of its own.
    """
    outcome: Future[T] = Future()
    namespace = os.open(f"{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)

    def moved() -> None:
        try:
            _checked(_LIBC.unshare(CLONE_FS))
            setns(namespace, CLONE_NEWNS)
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    try:
        thread = threading.Thread(target=moved, name="in the engine's mounts")
        thread.start()
        thread.join()
    finally:
        os.close(namespace)
    return outcome.result()


def mount_unseen(device: str, file_system: str, options: dict[str, str | None]) -> int:
    """A mount that is nowhere yet, as a descriptor; it is gone when that is closed before `attach`.

    options: the file system's own; None for one without a value.
    """
    context = _checked(_LIBC.syscall(_FSOPEN, file_system.encode(), _CLOEXEC))
    try:
        for name, value in {"source": device, **options}.items():
            how, text = (_SET_FLAG, None) if value is None else (_SET_STRING, value.encode())
            _checked(_LIBC.syscall(_FSCONFIG, context, how, name.encode(), text, 0))
        _checked(_LIBC.syscall(_FSCONFIG, context, _CREATE, None, None, 0))
        return _checked(_LIBC.syscall(_FSMOUNT, context, _CLOEXEC, _NOSUID_NODEV_NOATIME))
    finally:
        os.close(context)


def attach(mount: int, target: str) -> None:
    """Let the mount be seen at `target`."""
    at_working_directory = -100
    _checked(
        _LIBC.syscall(_MOVE_MOUNT, mount, b"", at_working_directory, os.fsencode(target), _FROM_EMPTY_PATH)
    )


def unmount(target: str) -> None:
    """Take away the topmost mount at `target`; EBUSY while anything uses it."""
    _checked(_LIBC.umount2(os.fsencode(target), _UMOUNT_NOFOLLOW))


def sync_file_system(descriptor: int) -> None:
    """Have everything written to the file system of this descriptor on its device."""
    _checked(_LIBC.syncfs(descriptor))
