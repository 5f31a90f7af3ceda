"""What two files share, as the file system says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmpool.backends import disks, extents
from vmpool.backends.base import MachineSpec
from vmpool.backends.bubblewrap import seals
from vmpool.backends.bubblewrap.host import find_programs
from vmpool.backends.bubblewrap.layout import Record

CHUNK = seals.CHUNK


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory of a file system with reflinks."""
    mkfs = shutil.which("mkfs.btrfs")
    if os.geteuid() != 0 or mkfs is None:
        pytest.skip("it takes root and mkfs.btrfs to have a file system with reflinks")
    image, where = tmp_path / "image", tmp_path / "mounted"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run([mkfs, "-q", image], check=True)
    where.mkdir()
    subprocess.run(["mount", "-o", "loop", image, where], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


def snapshot(directory: Path, disk: Path) -> tuple[Path, Record]:
    directory.mkdir()
    disks.copy_sparse(disk, directory / "disk.ext4")
    (directory / "record.json").write_text("{}")
    (directory / "size").write_text("1")
    return directory, Record(MachineSpec("box", "bash"), "root", True, 64, "base", "tree", ())


def test_only_what_changed_is_read(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = find_programs()[0]
    disk = shared / "disk"
    disk.write_bytes(os.urandom(5 * CHUNK + 1000))
    first, record = snapshot(shared / "first", disk)
    seals.note(first, seals.seal(first, record, programs))
    with disk.open("r+b") as file:
        file.seek(2 * CHUNK + 5)
        file.write(b"changed")
    second, _ = snapshot(shared / "second", disk)
    read: list[int] = []
    checksum = seals._checksum

    def counted(file: int, shared: dict[int, str], number: int) -> str:
        if number not in shared:
            read.append(number)
        return checksum(file, shared, number)

    monkeypatch.setattr(seals, "_checksum", counted)
    quick = seals.seal(second, record, programs, first)
    assert sorted(read) == [2, 5]  # what changed, and the end
    assert quick == seals.seal(second, record, programs)


def test_harm_to_the_earlier_one_is_no_harm_to_the_later(shared: Path) -> None:
    programs = find_programs()[0]
    disk = shared / "disk"
    disk.write_bytes(os.urandom(3 * CHUNK))
    first, record = snapshot(shared / "first", disk)
    seals.note(first, seals.seal(first, record, programs))
    with (first / "disk.ext4").open("r+b") as file:
        file.write(b"harm")
    second, _ = snapshot(shared / "second", disk)
    assert seals.seal(second, record, programs, first) == seals.seal(second, record, programs)
    (first / seals.SEAL).write_text("nonsense")
    assert seals.seal(second, record, programs, first) == seals.seal(second, record, programs)


def test_a_file_system_says_where_things_lie(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(3 << 20))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        try:
            found = list(extents.extents(file.fileno()))
        except OSError:
            pytest.skip("this file system does not say")
        assert found[0].start == 0 and found[-1].end >= 3 << 20
        assert set(extents.places(file.fileno(), 1 << 20)) <= {0, 1, 2}
