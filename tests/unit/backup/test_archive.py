"""The file itself: whole or refused, and never written outside its directory."""

from __future__ import annotations

import hashlib
import io
import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path

import pytest

from vmpool.backup import archive, database, restore
from vmpool.errors import InvalidRequest


def sealed(path: Path, content: bytes) -> None:
    """Any bytes with a right digest behind them."""
    path.write_bytes(content + archive.MARK + hashlib.sha256(content).hexdigest().encode() + b"\n")


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    source = tmp_path / "staging" / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "note").write_text("kept")
    with (source / "disk").open("wb") as disk:
        disk.seek(64 << 20)
        disk.write(b"end")
    archive.pack(source, tmp_path / "file")
    return tmp_path / "file"


def test_what_is_packed_comes_back(packed: Path, tmp_path: Path) -> None:
    assert packed.stat().st_mode & 0o777 == 0o600
    assert packed.stat().st_size < 1 << 20  # holes are not written
    archive.verify(packed)
    archive.unpack(packed, tmp_path / "out")
    assert (tmp_path / "out" / "sub" / "note").read_text() == "kept"
    disk = tmp_path / "out" / "disk"
    assert disk.read_bytes()[-3:] == b"end"
    assert disk.stat().st_size == (64 << 20) + 3
    assert disk.stat().st_blocks * 512 < 1 << 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out", "staging"]
    assert [path.name for path in (tmp_path / "staging").iterdir()] == ["source"]


def test_a_link_where_the_backup_is_written_is_not_followed(tmp_path: Path) -> None:
    source, theirs = tmp_path / "staging" / "source", tmp_path / "theirs"
    source.mkdir(parents=True)
    theirs.write_text("theirs")
    for name in ("file", ".file.partial"):
        (tmp_path / name).symlink_to(theirs)
    archive.pack(source, tmp_path / "file")
    assert theirs.read_text() == "theirs"
    assert not (tmp_path / "file").is_symlink()
    archive.verify(tmp_path / "file")
    (source.parent / "packed").symlink_to(theirs)
    with pytest.raises(FileExistsError):
        archive.pack(source, tmp_path / "other")


@pytest.mark.parametrize("at", [0, 0.5, 0.999])
def test_one_wrong_bit_is_refused(packed: Path, tmp_path: Path, at: float) -> None:
    whole = bytearray(packed.read_bytes())
    whole[int(at * len(whole))] ^= 1
    packed.write_bytes(whole)
    with pytest.raises(InvalidRequest, match=r"damaged|was cut"):
        restore(packed, tmp_path / "state")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("left", [0, 10, 5000])
def test_a_cut_file_is_refused(packed: Path, tmp_path: Path, left: int) -> None:
    packed.write_bytes(packed.read_bytes()[:left])
    with pytest.raises(InvalidRequest, match="was cut"):
        restore(packed, tmp_path / "state")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/vmpool-outside", "link/outside"])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as hostile:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, ".."
        hostile.addfile(link)
        member = tarfile.TarInfo(name)
        member.size = 1
        hostile.addfile(member, io.BytesIO(b"x"))
    sealed(tmp_path / "file", buffer.getvalue())
    with pytest.raises(InvalidRequest):
        restore(tmp_path / "file", tmp_path / "where" / "state")
    assert [path.name for path in tmp_path.rglob("*outside*")] == []
    assert not Path("/tmp/vmpool-outside").exists()
    assert list((tmp_path / "where").iterdir()) == []


def test_what_is_no_backup_of_a_server_is_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="manifest"):
        restore(packed, tmp_path / "state")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InvalidRequest, match="not empty"):
        restore(packed, tmp_path / "full")


def test_a_database_is_copied_while_it_is_written(tmp_path: Path) -> None:
    """Two rows that are always written together are never found apart."""
    path, stop = tmp_path / "live.db", threading.Event()
    with closing(sqlite3.connect(path)) as made:
        made.executescript("PRAGMA journal_mode = WAL; CREATE TABLE a (n); CREATE TABLE b (n);")

    def write() -> None:
        with closing(sqlite3.connect(path)) as writer:
            number = 0
            while not stop.is_set():
                number += 1
                with writer:
                    writer.execute("INSERT INTO a VALUES (?)", (number,))
                    writer.execute("INSERT INTO b VALUES (?)", (number,))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            database.copy(path, tmp_path / f"copy-{number}")
            with closing(sqlite3.connect(tmp_path / f"copy-{number}")) as copied:
                [[a, b]] = copied.execute(
                    "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)"
                ).fetchall()
            assert a == b
    finally:
        stop.set()
        thread.join()


def test_a_damaged_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(InvalidRequest, match="database is damaged"):
        database.check(tmp_path / "db")
