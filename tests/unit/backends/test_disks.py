from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vmpool.backends import disks
from vmpool.errors import BackendFailed

SBIN = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def run(*command: str | Path) -> int:
    return subprocess.run(command, env=SBIN, capture_output=True, check=False).returncode


def test_an_empty_image_is_made_once_and_takes_no_room(tmp_path: Path) -> None:
    image = disks.empty_image(tmp_path, 1024)
    assert image.stat().st_size == 1024 << 20
    assert image.stat().st_blocks * 512 < 4 << 20
    made = image.stat().st_ino
    assert disks.empty_image(tmp_path, 1024).stat().st_ino == made
    assert [entry.name for entry in tmp_path.iterdir()] == ["1024.ext4"]
    assert run("e2fsck", "-fn", image) == 0


def test_only_some_sizes_are_kept_and_those_in_use(tmp_path: Path) -> None:
    for megabytes in range(8, 8 + disks.SIZES_KEPT):
        os.utime(disks.empty_image(tmp_path, megabytes), (0, megabytes))
    disks.empty_image(tmp_path, 8)  # in use again
    disks.empty_image(tmp_path, 100)
    kept = {entry.name for entry in tmp_path.iterdir()}
    assert len(kept) == disks.SIZES_KEPT
    assert kept >= {"8.ext4", "100.ext4"}
    assert "9.ext4" not in kept


def test_the_smallest_image(tmp_path: Path) -> None:
    assert disks.empty_image(tmp_path, 1).stat().st_size == disks.SMALLEST_IMAGE_MB << 20


def test_a_sparse_copy_is_equal_and_sparse(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.write(b"begin")
        file.seek(50 << 20)
        file.write(os.urandom(3 << 20))
        file.truncate(200 << 20)
    disks.copy_sparse(source, tmp_path / "copy")
    assert run("cmp", source, tmp_path / "copy") == 0
    assert (tmp_path / "copy").stat().st_blocks * 512 < 8 << 20


def test_a_copy_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        disks.copy_sparse(tmp_path / "a", tmp_path / "b")


def test_a_damaged_disk_is_made_whole(tmp_path: Path) -> None:
    image = disks.empty_image(tmp_path, 8)
    assert run("debugfs", "-w", "-R", "clri <2>", image) == 0
    assert run("e2fsck", "-fn", image) != 0
    disks.repair(image)
    assert run("e2fsck", "-fn", image) == 0


def test_what_is_no_disk_cannot_be_repaired(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x" * 4096)
    with pytest.raises(BackendFailed, match="cannot be repaired"):
        disks.repair(tmp_path / "x")


def test_use_of_a_tree_counts_what_can_be_seen(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(os.urandom(1 << 20))
    (tmp_path / "link").symlink_to("/usr")
    assert 1 << 20 <= disks.tree_use(tmp_path) < 2 << 20
    assert disks.tree_use(tmp_path / "nothing") == 0
