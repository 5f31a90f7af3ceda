"""A file system on which files share what they have in common, for as long as it is measured."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def why_not() -> str | None:
    """Why there can be none here."""
    return None if shutil.which("mkfs.btrfs") else "it takes mkfs.btrfs (btrfs-progs)"


@contextmanager
def file_system(megabytes: int) -> Iterator[Path]:
    """A btrfs in a file, mounted; it takes root."""
    with tempfile.TemporaryDirectory(prefix="vmpool-bench-") as directory:
        image, where = Path(directory, "image"), Path(directory, "mounted")
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        where.mkdir()
        subprocess.run(["mkfs.btrfs", "--quiet", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, where], check=True)
        try:
            yield where
        finally:
            subprocess.run(["umount", where], check=True)
