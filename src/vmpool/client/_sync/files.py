"""The files of one VM."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Collection, Generator, Iterator
from functools import partial
from pathlib import Path

import httpx

from vmpool.client import local_files
from vmpool.client._sync.connection import Connection
from vmpool.client._sync.waiting import apart
from vmpool.client.errors import FileRefused, InfrastructureFailure, PathNotFound, ServerUnreachable
from vmpool.client.local_files import PIECE_BYTES, Known
from vmpool.client.models import FileChange, FileInfo, Synced, UnpackedTree
from vmpool.client.paths import RemotePath, below, files_path, raw
from vmpool.client.sse import Decoder
from vmpool.client.unpacker import Unpacker
from vmpool.client.wire import BYTES, MACHINE, TAR, Call, data_of, value

Progress = Callable[[int, int | None], None]
"""Hears how many bytes have gone, and of how many where that is known."""
GOES_ON = 5
"""How often a transfer that breaks off is gone on with before its failure is raised."""


def unheard(done: int, total: int | None) -> None:
    """Nobody wants to know."""


class Files:
    """`vm.files`: paths are text or bytes, relative ones begin at the VM's home directory.

    Everything is done as the VM's user.  Raises PathNotFound, FileRefused (`context["reason"]`), DiskFull,
    FileChanged and what all calls raise.
    """

    def __init__(self, connection: Connection, vm: int | str) -> None:
        self._connection = connection
        self._vm = vm

    # --- one by one

    def read(self, path: RemotePath, *, offset: int = 0) -> bytes:
        """The content of a file from `offset` on, all in memory."""
        pieces = [piece for piece in self.stream(path, offset=offset) if piece]
        return b"".join(pieces)

    def stream(self, path: RemotePath, *, offset: int = 0) -> Generator[bytes, None, None]:
        """The same in pieces.  Put `contextlib.closing` around it where you leave the loop early."""
        if offset and offset >= (self.stat(path, follow=True)).size:
            return
        call = Call("GET", files_path(self._vm, "files", path=path), wait=MACHINE, extra=_from(offset))
        with self._connection.stream(call, BYTES) as answer:
            for piece in answer.iter_bytes():
                yield piece

    def write(
        self,
        path: RemotePath,
        data: bytes | str,
        *,
        mode: int | None = None,
        parents: bool = False,
        exclusive: bool = False,
    ) -> FileInfo:
        """Replace the content of a file, or make it.

        mode: permission bits.  parents: make missing directories.  exclusive: FileChanged if it is there.
        """
        content = data.encode() if isinstance(data, str) else data
        call = Call(
            "PUT",
            files_path(self._vm, "files", path=path, parents=parents, mode=_octal(mode)),
            wait=MACHINE,
            extra={"If-None-Match": "*"} if exclusive else {},
        )
        answer = self._connection.upload(call, content, BYTES, len(content))
        return value(FileInfo, answer.content)

    def stat(self, path: RemotePath, *, follow: bool = False) -> FileInfo:
        """What is known of a file, a directory or a link.  follow: of what a link leads to."""
        call = Call("GET", files_path(self._vm, "files", "stat", path=path, follow=follow))
        return self._connection.one(FileInfo, call)

    def exists(self, path: RemotePath) -> bool:
        """Whether something is there; a link counts, wherever it leads."""
        try:
            self.stat(path)
        except PathNotFound:
            return False
        return True

    def list(self, path: RemotePath = ".") -> list[FileInfo]:
        """What a directory holds, by name."""
        found = self._connection.all(FileInfo, files_path(self._vm, "files", "list", path=path))
        return sorted(found, key=lambda one: one.raw_name)

    def mkdir(
        self, path: RemotePath, *, mode: int | None = None, parents: bool = False, exist_ok: bool = False
    ) -> FileInfo:
        """Make a directory."""
        made = files_path(
            self._vm,
            "files",
            "directory",
            path=path,
            mode=_octal(mode),
            parents=parents,
            existing=exist_ok,
        )
        return self._connection.one(FileInfo, Call("POST", made))

    def change(self, path: RemotePath, *, mode: int | None = None, mtime_ns: int | None = None) -> FileInfo:
        """Set permission bits, or the time of its last change."""
        changed = files_path(self._vm, "files", path=path, mode=_octal(mode), mtime_ns=mtime_ns)
        return self._connection.one(FileInfo, Call("PATCH", changed))

    def move(self, path: RemotePath, to: RemotePath, *, replace: bool = False) -> FileInfo:
        """Give it another path, within one file system of the VM."""
        moved = files_path(self._vm, "files", "move", path=path, to=to, replace=replace)
        return self._connection.one(FileInfo, Call("POST", moved))

    def remove(self, path: RemotePath, *, recursive: bool = False) -> None:
        """Remove a file, a link or an empty directory; recursive: a directory with all it holds."""
        gone = files_path(self._vm, "files", path=path, recursive=recursive)
        self._connection.send(Call("DELETE", gone, wait=MACHINE))

    def watch(self, path: RemotePath = ".", *, recursive: bool = True) -> Generator[FileChange, None, None]:
        """What changes in a directory, or of one file, as it happens, until that or the VM is gone.

        recursive: also what lies below it.  The first is of the kind "watching".  Links are not followed.

        Put `contextlib.closing` around it where you leave the loop early.
        """
        where = files_path(self._vm, "files", "watch", path=path, recursive=recursive)
        with self._connection.stream(Call("GET", where, wait=None)) as answer:
            decoder = Decoder()
            for chunk in answer.iter_bytes():
                for event in decoder.feed(chunk):
                    if event.name == "watching":
                        yield FileChange(kind="watching")
                    elif event.name == "change":
                        yield value(FileChange, data_of(event))
                    elif event.name == "end":
                        return
            raise httpx.RemoteProtocolError("the stream of changes was cut: watch again, and look anew")

    # --- between here and there

    def upload(
        self,
        local: str | Path,
        path: RemotePath,
        *,
        resume: bool = False,
        progress: Progress = unheard,
    ) -> FileInfo | UnpackedTree:
        """Copy a file, or a directory with all it holds, into the VM, with modes and times.

        path: what it is to be called there; missing directories are made.  resume: go on with a file of which
        a beginning is there already.  A transfer that breaks off goes on by itself a few times.
        """
        source = Path(local)
        if apart(source.is_dir):
            return self._upload_tree(source, path, None, progress)
        return self._upload_file(source, path, resume, progress)

    def download(
        self,
        path: RemotePath,
        local: str | Path,
        *,
        resume: bool = False,
        progress: Progress = unheard,
    ) -> builtins.list[str]:
        """Copy a file, or a directory with all it holds, out of the VM, with modes and times.

        local: what it is to be called here.  What may not be unpacked here (links that lead out, devices) is
        left out and named in the answer.  resume: go on with a file of which a beginning is here already.
        """
        info = self.stat(path, follow=True)
        target = Path(local)
        if info.kind == "directory":
            return self._download_tree(path, target, progress)
        if info.kind != "file":
            raise FileRefused(
                f"'{info.name}' is no regular file", status=409, code="file_refused", context={}
            )
        self._download_file(path, info, target, resume, progress)
        return []

    def sync(
        self,
        local: str | Path,
        path: RemotePath,
        *,
        delete: bool = False,
        progress: Progress = unheard,
    ) -> Synced:
        """Make a directory of the VM like one here: what has another size, time or kind is sent.

        delete: what is only there is removed.
        """
        source, top = Path(local), raw(path)
        here = apart(partial(local_files.known, source))
        there = self._known(top)
        plan = local_files.plan(here, there, delete=delete)
        for name in plan.remove:
            self.remove(below(top, name), recursive=True)
        if plan.send:
            sent = self._upload_tree(source, path, plan.send, progress, plan.size)
        else:
            self.mkdir(path, parents=True, exist_ok=True)
            sent = None
        return Synced(
            sent=len(plan.send),
            removed=len(plan.remove),
            unchanged=len(here) - len(plan.send),
            bytes=plan.size,
            refused=[] if sent is None else sent.refused,
        )

    def _known(self, top: bytes) -> dict[bytes, Known]:
        found: dict[bytes, Known] = {}
        waiting = [b""]
        while waiting:
            inside = waiting.pop()
            try:
                entries = self.list(below(top, inside) if inside else top)
            except PathNotFound:
                continue
            for entry in entries:
                name = below(inside, entry.raw_name)
                found[name] = Known(entry.kind, entry.size, entry.mtime_ns, entry.raw_target)
                if entry.kind == "directory":
                    waiting.append(name)
        return found

    def _upload_file(self, source: Path, path: RemotePath, resume: bool, progress: Progress) -> FileInfo:
        status = apart(source.stat)
        done = self._size_of(path, status.st_size) if resume else 0
        for left in reversed(range(GOES_ON)):
            parameters = files_path(
                self._vm,
                "files",
                path=path,
                offset=done,
                parents=True,
                mode=_octal(status.st_mode & 0o7777),
                mtime_ns=max(0, status.st_mtime_ns),
            )
            call = Call("PUT", parameters, wait=MACHINE)
            try:
                pieces = _pieces(source, done, status.st_size, progress)
                answer = self._connection.upload(call, pieces, BYTES, status.st_size - done)
                return value(FileInfo, answer.content)
            except (ServerUnreachable, InfrastructureFailure):
                if not left:
                    raise
            done = self._size_of(path, status.st_size)
        raise AssertionError("the last try returns or raises")

    def _size_of(self, path: RemotePath, most: int) -> int:
        """How much of a file is there; 0 where it is none, or more than it can be."""
        try:
            size = (self.stat(path, follow=True)).size
        except PathNotFound:
            return 0
        return size if size <= most else 0

    def _upload_tree(
        self,
        source: Path,
        path: RemotePath,
        only: Collection[bytes] | None,
        progress: Progress,
        total: int | None = None,
    ) -> UnpackedTree:
        call = Call("PUT", files_path(self._vm, "tree", path=path), wait=MACHINE)
        answer = self._connection.upload(call, _packed(source, only, progress, total), TAR)
        return value(UnpackedTree, answer.content)

    def _download_file(
        self, path: RemotePath, info: FileInfo, target: Path, resume: bool, progress: Progress
    ) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        file = apart(partial(os.open, target, flags, 0o600))
        try:
            done = os.fstat(file).st_size if resume else 0
            done = done if done <= info.size else 0
            for left in reversed(range(GOES_ON)):
                try:
                    for at, piece in self._from(path, info, done):
                        apart(partial(_put, file, at, piece))
                        done = at + len(piece)
                        progress(done, info.size)
                    break
                except (ServerUnreachable, InfrastructureFailure):
                    if not left:
                        raise
            os.ftruncate(file, done)
            os.fchmod(file, int(info.mode, 8) & 0o777)
            os.utime(file, ns=(info.mtime_ns, info.mtime_ns))
        finally:
            os.close(file)

    def _from(self, path: RemotePath, info: FileInfo, done: int) -> Generator[tuple[int, bytes], None]:
        """Pieces with their places; from the beginning where the file is not what it was."""
        if done and done >= info.size:
            return
        extra = {**_from(done), "If-Range": f'"{info.version}"'} if done else {}
        call = Call("GET", files_path(self._vm, "files", path=path), wait=MACHINE, extra=extra)
        with self._connection.stream(call, BYTES) as answer:
            at = done if answer.status_code == 206 else 0
            for piece in answer.iter_bytes(PIECE_BYTES):
                yield at, piece
                at += len(piece)

    def _download_tree(self, path: RemotePath, target: Path, progress: Progress) -> builtins.list[str]:
        apart(partial(target.mkdir, exist_ok=True))
        unpacker = Unpacker(target)
        call = Call("GET", files_path(self._vm, "tree", path=path), wait=MACHINE)
        try:
            with self._connection.stream(call, TAR) as answer:
                for piece in answer.iter_bytes(PIECE_BYTES):
                    apart(partial(unpacker.feed, piece))
                    progress(unpacker.size, None)
            apart(unpacker.finish)
        finally:
            unpacker.close()
        return [f"{os.fsdecode(name)}: {problem}" for name, problem in unpacker.refused]


def _octal(mode: int | None) -> str | None:
    return None if mode is None else f"{mode & 0o7777:04o}"


def _from(offset: int) -> dict[str, str]:
    return {"Range": f"bytes={offset}-"} if offset else {}


def _put(file: int, at: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, at)
        view, at = view[count:], at + count


def _pieces(source: Path, done: int, size: int, progress: Progress) -> Iterator[bytes]:
    """A file from `done` on."""
    file = apart(partial(local_files.opened, source))
    try:
        file.seek(done)
        while piece := apart(partial(file.read, min(PIECE_BYTES, size - done))):
            done += len(piece)
            yield piece
            progress(done, size)
    finally:
        file.close()


def _packed(
    source: Path, only: Collection[bytes] | None, progress: Progress, total: int | None
) -> Iterator[bytes]:
    """A directory as an archive, in pieces of some size."""
    pieces = local_files.pack(source, only)
    done = 0
    try:
        while piece := apart(partial(local_files.gathered, pieces)):
            done += len(piece)
            yield piece
            progress(done if total is None else min(done, total), total)
    finally:
        pieces.close()
