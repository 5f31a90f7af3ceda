"""What holds a VM's disk limit on one engine: decided once from what it says, tried before it is believed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

LABEL_DISK = "vmpool.disk"
LABEL_DISK_LIMIT = "vmpool.disk-limit"
"""MB the VM was made with."""


class Storage(StrEnum):
    """What holds the disk limit of a container; its label says which, for as long as it lives."""

    IMAGE = "image"  # a disk image of its own lies over the container's layer
    QUOTA = "quota"  # the engine's own, on btrfs: of the whole root, the image included
    MEMORY = "memory"  # home and /tmp are tmpfs, the rest is read-only
    FILES = "files"  # only the size of each file is limited


ENFORCEMENT: Mapping[Storage, str] = {
    Storage.IMAGE: "an ext4 image over the container's layer",
    Storage.QUOTA: "the engine's btrfs quota",
    Storage.MEMORY: "tmpfs size",
    Storage.FILES: "RLIMIT_FSIZE per file",
}
IN_MEMORY = (
    "files are kept in memory, in at most half of the memory limit; they do not outlive a stop, "
    "and no snapshot can be taken"
)
PER_FILE = "disk: the limit holds for each file, not for their sum; the engine's storage is shared."


def storage_of(labels: Mapping[str, str] | None) -> Storage:
    """What holds the disk limit of the container with these labels."""
    try:
        return Storage((labels or {}).get(LABEL_DISK, Storage.FILES))
    except ValueError:
        return Storage.FILES


def limit_of(labels: Mapping[str, str]) -> int | None:
    """Bytes of the disk limit of the container with these labels; None where they do not say."""
    text = labels.get(LABEL_DISK_LIMIT, "")
    return int(text) * 2**20 if text.isdecimal() else None


def layer_of(facts: Mapping[str, Any]) -> str | None:
    """The directory of the container's own layer on the engine's host, by overlay2; None elsewhere."""
    driver = facts.get("GraphDriver") or {}
    upper = (driver.get("Data") or {}).get("UpperDir")
    if driver.get("Name") != "overlay2" or not isinstance(upper, str):
        return None
    directory, _, last = upper.rpartition("/")
    return directory if last == "diff" else None
