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
from vmpool.backends.extents import places
from vmpool.errors import BackendFailed

CHUNK = 4 << 20
"""Bytes of a disk that have one checksum."""
AT_ONCE = min(4, os.cpu_count() or 1)
TREE_SECONDS = 3600.0


SEAL = "seal.json"
"""In a snapshot's directory: the checksums of its parts, for the next one of the same VM."""


def seal(directory: Path, record: Record, programs: Programs, before: Path | None = None) -> str:
    """The parts of a snapshot and their checksums, as text that is the same whenever they are.

    before: an earlier snapshot; what lies at the very same place on the disk as in it is not read again.
    OSError for what cannot be read.
    """
    parts: dict[str, object] = {
        name: sha256((directory / name).read_bytes()).hexdigest() for name in ("record.json", "size")
    }
    if record.image:
        image = directory / "disk.ext4"
        parts["length"] = image.stat().st_size
        parts["chunks"] = dict(_image_checksums(image, _shared(image, before)))
    else:
        parts["tree"] = _tree_checksum(directory / "disk", programs)
    return json.dumps(parts, sort_keys=True)


def note(directory: Path, text: str) -> None:
    """Keep a seal with its snapshot, with a checksum of its own."""
    (directory / SEAL).write_text(f"{sha256(text.encode()).hexdigest()}\n{text}", encoding="ascii")


def _noted(directory: Path) -> dict[str, str]:
    """Checksums of an earlier snapshot's chunks, by number; none where they are not whole."""
    try:
        checksum, _, text = (directory / SEAL).read_text(encoding="ascii").partition("\n")
    except (OSError, UnicodeDecodeError):
        return {}
    whole = sha256(text.encode()).hexdigest() == checksum
    return dict(json.loads(text).get("chunks", {})) if whole else {}


def _shared(image: Path, before: Path | None) -> dict[int, str]:
    """Checksums of the chunks that two disks have in common, as the file system says: nothing is read.

    A write to a part that two files share takes it to another place, on every file system that has such.
    """
    known = {} if before is None else _noted(before)
    if before is None or not known:
        return {}
    try:
        with image.open("rb") as present, (before / image.name).open("rb") as earlier:
            most = min(os.fstat(file.fileno()).st_size for file in (present, earlier)) // CHUNK
            here, there = (places(file.fileno(), CHUNK) for file in (present, earlier))
    except OSError:  # a file system that does not say
        return {}
    return {
        number: known.get(str(number), "")
        for number, parts in here.items()
        if number < most and there.get(number) == parts
    }


def _image_checksums(image: Path, shared: dict[int, str]) -> Iterator[tuple[str, str]]:
    """Of each chunk that is not all zeros; holes are not read, nor what is known already."""
    file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        numbers = list(_with_data(file))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            checksums = threads.map(partial(_checksum, file, shared), numbers)
            yield from ((str(number), one) for number, one in zip(numbers, checksums, strict=True) if one)
    finally:
        os.close(file)


def _with_data(file: int) -> Iterator[int]:
    """Numbers of the chunks that hold data."""
    size, at = os.fstat(file).st_size, 0
    while at < size:
        try:
            at = os.lseek(file, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole to the end
            return
        yield at // CHUNK
        at = (at // CHUNK + 1) * CHUNK


def _checksum(file: int, shared: dict[int, str], number: int) -> str:
    if number in shared:
        return shared[number]
    data = os.pread(file, CHUNK, number * CHUNK)
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
