"""The directory all of a server's state lies in, and the locks that make the server its only one."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from pathlib import Path
from typing import Self

from vmpool.errors import Conflict, InvalidRequest
from vmpool.store.pool_lock import lock_pool


class StateDirectory:
    """A context manager: within it this process is the directory's one server, and its pool's on this host.

    Entering makes the directory (mode 0700, with its parents) and takes two exclusive locks, which end with
    the process however that ends; machines started by it do not inherit them.  Raises Conflict, with the
    holder's process id where known, if another server has the directory or, from another directory, the
    pool, and InvalidRequest if the directory cannot be used.

    ==============  ==========================================================================
    `lock`          held by the server; contains its process id
    `pool_id`       names this directory's pool to an engine it shares with others
    `backend`       what `auto` was decided to be, and why
    `owner.key`     the API key of a loopback server's owner
    `server.json`   where the running server listens
    `shares.json`   what share links are signed with, and which are revoked
    `secrets.key`   what users' secrets are encrypted with; in no backup
    `webhooks.key`  what webhooks' secrets are made from; in no backup
    ==============  ==========================================================================
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._lock: int | None = None
        self._pool: socket.socket | None = None

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as failure:
            raise InvalidRequest("state_dir", f"{self.path} cannot be used: {failure.strerror}") from failure
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as failure:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            os.close(lock)
            raise Conflict(
                f"another vmpool server{f' (process {holder})' if holder else ''} uses {self.path};"
                " stop it, or set VMPOOL_STATE_DIR to another directory",
                pid=int(holder) if holder.isdecimal() else None,
            ) from failure
        try:
            self._pool = lock_pool(self.pool_id)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
        except BaseException:
            os.close(lock)
            raise
        self._lock = lock
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._lock is None:
            return
        self.withdraw()
        # the file stays: removing it would let two servers lock two files of one name
        os.ftruncate(self._lock, 0)
        os.close(self._lock)
        self._lock = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    @property
    def pool_id(self) -> str:
        """Twelve hexadecimal digits, made once and the same ever after."""
        found = self._read("pool_id")
        if found is None:
            found = secrets.token_hex(6)
            self._write("pool_id", found)
        return found

    @property
    def backend(self) -> tuple[str, str] | None:
        """What `auto` was decided to be in this directory and the reason; None before that."""
        found = self._read("backend")
        if found is None:
            return None
        decided = json.loads(found)
        return decided["backend"], decided["reason"]

    def decide_backend(self, backend: str, reason: str) -> None:
        """Remember what `auto` means here from now on."""
        self._write("backend", json.dumps({"backend": backend, "reason": reason}))

    @property
    def owner_key(self) -> str | None:
        """The owner's API key, None where there is none yet."""
        return self._read("owner.key")

    @owner_key.setter
    def owner_key(self, secret: str) -> None:
        self._write("owner.key", secret)

    def announce(self, url: str, certificate: Path | None = None) -> None:
        """Tell clients on this host where the server listens, and the certificate it shows them, if any."""
        said = {"url": url, "pid": os.getpid()}
        if certificate is not None:
            said["certificate"] = str(certificate.absolute())
        self._write("server.json", json.dumps(said))

    def withdraw(self) -> None:
        """The server no longer listens."""
        (self.path / "server.json").unlink(missing_ok=True)

    def directory(self, name: str) -> Path:
        """A directory in here, made if missing, for one part of the server (a backend) to use as it likes."""
        path = self.path / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: str) -> None:
        write_private(self.path / name, content)


def write_private(path: Path, content: str) -> None:
    """A file of one line: all or nothing, on disk when it returns, readable by the owner only."""
    staged = path.with_name(f".{path.name}.new")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(content + "\n")
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
