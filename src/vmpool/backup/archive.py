"""The file: a tar archive and one line after its end, a digest of all that is before it.

`tar tf FILE` lists it, since tar stops at the archive's end.  A file that was cut, or changed in one bit, has
another digest or none and is refused.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path, PurePosixPath

from vmpool.errors import BackendFailed, InvalidRequest

MARK = b"vmpool-backup-1 sha256 "
TRAILER = len(MARK) + 64 + 1
CHUNK = 1 << 20


def pack(directory: Path, target: Path) -> None:
    """Write everything below `directory` to `target`: whole, on disk and private, or not at all.

    The file is made beside `directory`, whose parent only the caller may write to: where `target` lies others
    may be able to, and could have put a link or a file of theirs in the way.
    """
    staged = directory.with_name("packed")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(staged, flags, 0o600), "r+b") as file:
        packed = subprocess.run(
            ["tar", "--create", "--sparse", "--format=gnu", "--directory", directory, "."],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            check=False,
        )
        if packed.returncode != 0:
            raise BackendFailed(f"tar could not write the backup: {packed.stderr.decode(errors='replace')}")
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(MARK + digest.encode("ascii") + b"\n")
        file.flush()
        os.fsync(file.fileno())
    staged.rename(target)


def verify(source: Path) -> None:
    """InvalidRequest unless the file is one of ours and every byte of it is as it was written."""
    size = source.stat().st_size
    with source.open("rb") as file:
        file.seek(max(0, size - TRAILER))
        trailer = file.read()
        if not (trailer.startswith(MARK) and trailer.endswith(b"\n")):
            raise InvalidRequest("backup", f"{source} is no backup of vmpool, or was cut")
        file.seek(0)
        digest, left = hashlib.sha256(), size - TRAILER
        while left:
            chunk = file.read(min(CHUNK, left))
            digest.update(chunk)
            left -= len(chunk)
    if digest.hexdigest().encode("ascii") != trailer[len(MARK) : -1]:
        raise InvalidRequest("backup", f"{source} is damaged: its digest is another")


def unpack(source: Path, directory: Path) -> None:
    """Write what a verified file holds below `directory`: files and directories only, nothing outside.

    Python's own extraction filters came with 3.11.4; of a file that must hold nothing but what `pack` wrote,
    anything else is refused.
    """
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                _check(source, member)
                archive.extract(member, directory, set_attrs=False)
                (directory / member.name).chmod(0o700 if member.isdir() else 0o600)
    except tarfile.TarError as error:
        raise InvalidRequest("backup", f"{source} cannot be read: {error}") from error


def _check(source: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
        raise InvalidRequest("backup", f"{source} holds '{member.name}', which no backup does")
