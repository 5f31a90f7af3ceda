"""Doing harm to a kept snapshot, where each backend keeps it."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from tests.conformance.backends import World
from vmpool.backends.base import Backend
from vmpool.backends.fake import FakeBackend
from vmpool.backends.fake.files import File


class Harm(StrEnum):
    """What is done to it."""

    FLIPPED = "a byte flipped"
    TRUNCATED = "cut short"
    MISSING = "gone"


MARK = b"the mark that is looked for"
"""In a file of the VM, so that the harm is done to what somebody wrote."""


def do(harm: Harm, world: World, backend: Backend, reference: str) -> None:
    """Do it to the one snapshot of this reference.  Blocks."""
    if isinstance(backend, FakeBackend):
        _fake(harm, backend, reference)
    elif world.directory is not None and (world.directory / "snapshots" / reference).is_dir():
        kept = world.directory / "snapshots" / reference
        image = kept / "disk.ext4"
        _file(harm, image if image.exists() else _marked(kept / "disk"))
    else:
        _file(harm, _marked(_layer(world, reference)))


def _fake(harm: Harm, backend: FakeBackend, reference: str) -> None:
    stored, files = backend.host.snapshots[reference]
    (path,) = (path for path, file in files.files.items() if MARK in file.data)
    changed = files.copy()
    match harm:
        case Harm.FLIPPED:
            changed.files[path] = File(files.files[path].data.replace(b"mark", b"nark"))
        case Harm.TRUNCATED:
            changed.files[path] = File(files.files[path].data[:3])
        case Harm.MISSING:
            del changed.files[path]
    backend.host.snapshots[reference] = (replace(stored), changed)


def _layer(world: World, reference: str) -> Path:
    """The directory in which the engine keeps the files of the image's topmost layer."""
    name = f"vmpool-snap/{world.pool_id}:{reference}"
    shown = subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=True)
    return Path(json.loads(shown.stdout)[0]["GraphDriver"]["Data"]["UpperDir"])


def _marked(tree: Path) -> Path:
    for directory, _, names in os.walk(tree):
        for name in names:
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink() and MARK in path.read_bytes():
                return path
    raise AssertionError(f"the mark is nowhere below {tree}")


def _file(harm: Harm, path: Path) -> None:
    match harm:
        case Harm.FLIPPED:
            with path.open("r+b") as file:
                at = _place(path)
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 1]))
        case Harm.TRUNCATED:
            os.truncate(path, path.stat().st_size // 2)
        case Harm.MISSING:
            path.unlink()


def _place(path: Path) -> int:
    """Where the mark is, in a disk or a file."""
    with path.open("rb") as file:
        at, before = 0, b""
        while piece := file.read(1 << 20):
            found = (before + piece).find(MARK)
            if found >= 0:
                return at - len(before) + found
            before, at = piece[-len(MARK) :], at + len(piece)
    raise AssertionError(f"the mark is not in {path}")
