"""What a kept disk is compared with later: a checksum of every part of it.  Everything here blocks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path

from vmpool.backends.bubblewrap.host import Programs
from vmpool.backends.bubblewrap.layout import Record
from vmpool.errors import BackendFailed

CHUNK = 4 << 20
"""Bytes of a disk that have one checksum."""
AT_ONCE = min(4, os.cpu_count() or 1)
TREE_SECONDS = 3600.0


def seal(directory: Path, record: Record, programs: Programs) -> str:
    """The parts of a snapshot and their checksums, as text that is the same whenever they are.

    OSError for what cannot be read.
    """
    parts: dict[str, object] = {
        name: sha256((directory / name).read_bytes()).hexdigest() for name in ("record.json", "size")
    }
    if record.image:
        image = directory / "disk.ext4"
        parts["length"] = image.stat().st_size
        parts["chunks"] = dict(_image_checksums(image))
    else:
        parts["tree"] = _tree_checksum(directory / "disk", programs)
    return json.dumps(parts, sort_keys=True)


def _image_checksums(image: Path) -> Iterator[tuple[str, str]]:
    """Of each chunk that is not all zeros; holes are not read."""
    file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        places = list(_places(file))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for place, checksum in zip(places, threads.map(partial(_checksum, file), places), strict=True):
                if checksum:
                    yield str(place), checksum
    finally:
        os.close(file)


def _places(file: int) -> Iterator[int]:
    """Numbers of the chunks that hold data."""
    size, at = os.fstat(file).st_size, 0
    while at < size:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole to the end
            return
        yield at // CHUNK
        at = (at // CHUNK + 1) * CHUNK


def _checksum(file: int, place: int) -> str:
    data = os.pread(file, CHUNK, place * CHUNK)
    return sha256(data).hexdigest() if data.strip(b"\0") else ""


def tree_program(programs: Programs, *words: str) -> tuple[str, ...]:
    """How `vmpool.backends.trees` is run, so that it reads and makes files of any mode."""
    return (str(programs.launcher), "as-root", sys.executable, "-I", "-m", "vmpool.backends.trees", *words)


def _tree_checksum(tree: Path, programs: Programs) -> str:
    top = os.open(tree, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        done = subprocess.run(
            tree_program(programs, "checksum", str(top)),
            pass_fds=(top,),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=TREE_SECONDS,
            check=False,
        )
    finally:
        os.close(top)
    if done.returncode != 0:
        said = done.stderr.strip()[-500:] or "no message"
        raise BackendFailed(f"the snapshot's files cannot be read: {said}")
    return done.stdout.strip()
