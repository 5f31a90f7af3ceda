"""The FILE_* messages over a dictionary of files.  There are no links in it."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vmpool.agent.codec import Fields, Frame, pack, unpack
from vmpool.agent.file_values import FileStatus, packed_entry, signed, unsigned
from vmpool.agent.messages import Message, Reason
from vmpool.agent.watching import Mask, packed_record
from vmpool.backends.fake.files import File, Files, Heard, Told

MESSAGES = frozenset(message for message in Message if message.name.startswith("FILE_"))
_MAX_READ = 512 << 10
_PAGE = 1000
_REASONS = {
    errno.ENOENT: Reason.NOT_FOUND,
    errno.EINVAL: Reason.BAD_REQUEST,
    errno.EACCES: Reason.PERMISSION,
    errno.EISDIR: Reason.NOT_A_FILE,
    errno.ENOTDIR: Reason.NOT_A_DIRECTORY,
    errno.EEXIST: Reason.EXISTS,
    errno.ENOTEMPTY: Reason.NOT_EMPTY,
}
Reply = Callable[[Frame, Message, bytes], None]
Fail = Callable[[Frame, str, str, int | None], None]


@dataclass(slots=True)
class _Put:
    path: str
    fields: Fields
    data: bytearray


class FileVerbs:
    """One connection's.  send: bytes that are in no frame."""

    def __init__(self, files: Files, reply: Reply, fail: Fail, send: Callable[[bytes], None]) -> None:
        self._files = files
        self._reply = reply
        self._fail = fail
        self._send = send
        self._put: _Put | None = None
        self._heard: list[Heard] = []

    def handle(self, frame: Frame) -> None:
        """Answer one of MESSAGES."""
        try:
            if frame.type == Message.FILE_PIECE:
                self._piece(frame)
            else:
                message = Message(frame.type)
                fields = unpack(message, frame.payload)
                self._act(frame, message, self._files.resolve(os.fsdecode(fields.raw("path"))), fields)
        except OSError as error:
            reason = _REASONS.get(error.errno or 0, Reason.IO_ERROR)
            self._fail(frame, reason, error.strerror or str(error), error.errno)

    def _act(self, frame: Frame, message: Message, path: str, fields: Fields) -> None:
        files = self._files
        match message:
            case Message.FILE_READ:
                self._reply(frame, Message.FILE_DATA, self._read(path, fields))
                return
            case Message.FILE_WATCH:
                self._watch(frame, path, recursive=bool(fields.u64("recursive")))
                return
            case Message.FILE_STAT:
                self._reply(frame, Message.FILE_STATUS, _numbers(Message.FILE_STATUS, self._status(path)))
                return
            case Message.FILE_LIST:
                self._reply(frame, Message.FILE_LISTED, self._page(path, fields))
                return
            case Message.FILE_GET:
                self._get(frame, path, fields)
                return
            case Message.FILE_PUT:
                self._begin(frame, path, fields)
                return
            case Message.FILE_REMOVE:
                self._remove(path, tree=bool(fields.u64("tree")))
                self._reply(frame, Message.FILE_REMOVED, pack(Message.FILE_REMOVED, more=0))
                return
            case Message.FILE_WRITE:
                self._store(path, fields, fields.raw("data"))
            case Message.FILE_MAKE:
                if "target" in fields or "source" in fields:
                    self._fail(frame, Reason.NOT_SUPPORTED, "there are no links here", None)
                    return
                self._make(path, fields)
            case Message.FILE_CHANGE:
                self._change(path, fields)
            case Message.FILE_MOVE:
                to = files.resolve(os.fsdecode(fields.raw("to")))
                files.move(path, to, replace=bool(fields.u64("replace")))
        self._reply(frame, Message.DONE, b"")

    def _watch(self, frame: Frame, root: str, *, recursive: bool) -> None:
        files = self._files
        if root in files.files:
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", root)
        files.names(root)  # that there is one
        below = root.rstrip("/") + "/"

        def heard(cookie: int, changes: Sequence[Told]) -> None:
            if (Mask.DELETE | Mask.ISDIR, root) in changes:
                self._tell(frame, 0, [(Mask.DELETE_SELF, "")])
                self._fail(frame, Reason.GONE, "what was watched is gone", errno.ENOENT)
                return
            inner = [(mask, path[len(below) :]) for mask, path in changes if path.startswith(below)]
            self._tell(frame, cookie, [one for one in inner if recursive or "/" not in one[1]])

        files.hearing.append(heard)
        self._heard.append(heard)
        directories = sum(
            name == root or (recursive and name.startswith(below)) for name in files.directories
        )
        self._reply(frame, Message.FILE_WATCHING, pack(Message.FILE_WATCHING, directories=directories))

    def _tell(self, frame: Frame, cookie: int, changes: Sequence[Told]) -> None:
        records = [packed_record(mask, cookie, os.fsencode(path)) for mask, path in changes]
        self._reply(frame, Message.FILE_CHANGED, pack(Message.FILE_CHANGED, change=records))

    def close(self) -> None:
        """The connection is no more."""
        for heard in self._heard:
            self._files.hearing.remove(heard)

    def _status(self, path: str) -> FileStatus:
        if path in self._files.directories:
            return FileStatus(stat.S_IFDIR | 0o755, 0, 0)
        file = self._files.read(path)
        return FileStatus(stat.S_IFREG | file.mode, len(file.data), file.mtime_ns)

    def _read(self, path: str, fields: Fields) -> bytes:
        file = self._files.read(path)
        most = fields.u64("length") if "length" in fields else _MAX_READ
        offset, length = fields.u64("offset"), min(most, _MAX_READ)
        return pack(
            Message.FILE_DATA,
            data=file.data[offset : offset + length],
            size=len(file.data),
            mode=file.mode,
            mtime_ns=unsigned(file.mtime_ns),
        )

    def _page(self, path: str, fields: Fields) -> bytes:
        if path in self._files.files:
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory", path)
        names = self._files.names(path)
        begin = fields.u64("cursor")
        end = begin + min(fields.u64("length") or _PAGE, _PAGE)
        records = [
            packed_entry(os.fsencode(name), self._status(posixpath.join(path, name)))
            for name in names[begin:end]
        ]
        return pack(Message.FILE_LISTED, entry=records, next=end if end < len(names) else None)

    def _make(self, path: str, fields: Fields) -> None:
        if path in self._files.directories and fields.u64("existing"):
            return
        if path in self._files.directories:
            raise FileExistsError(errno.EEXIST, "File exists", path)
        self._files.make_directory(path, parents=bool(fields.u64("parents")))

    def _change(self, path: str, fields: Fields) -> None:
        if path in self._files.directories:
            return
        file = self._files.read(path)
        if "mode" in fields:
            file = replace(file, mode=fields.u64("mode") & 0o7777)
        if "mtime_ns" in fields:
            file = replace(file, mtime_ns=signed(fields.u64("mtime_ns")))
        self._files.store(path, file)

    def _remove(self, path: str, *, tree: bool) -> None:
        if path in self._files.directories and not tree and self._files.names(path):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", path)
        self._files.remove(path, tree=path in self._files.directories)

    def _store(self, path: str, fields: Fields, data: bytes) -> None:
        files = self._files
        kept = files.files.get(path)
        offset = fields.u64("offset")
        before = b"" if kept is None else kept.data
        after = b"" if fields.u64("truncate") else before[offset + len(data) :]
        mode = fields.u64("mode") or (kept.mode if kept else 0o644)
        whole = before[:offset].ljust(offset, b"\0") + data + after
        files.write(path, whole, mode=mode, parents=bool(fields.u64("parents")))
        if "mtime_ns" in fields:
            files.store(path, File(whole, mode, signed(fields.u64("mtime_ns"))))

    def _get(self, frame: Frame, path: str, fields: Fields) -> None:
        file, offset = self._files.read(path), fields.u64("offset")
        most = fields.u64("length") if "length" in fields else len(file.data)
        data = file.data[offset : offset + most]
        status = self._status(path)
        coming = _numbers(Message.FILE_COMING, status) + pack(Message.FILE_COMING, length=len(data))
        self._reply(frame, Message.FILE_COMING, coming)
        for at in range(0, len(data), _MAX_READ):
            self._send(data[at : at + _MAX_READ])

    def _begin(self, frame: Frame, path: str, fields: Fields) -> None:
        kept = self._files.files.get(path)
        if kept is None or fields.u64("truncate"):
            self._store(path, fields, b"")
        self._put = _Put(path, fields, bytearray())
        size = 0 if kept is None else len(kept.data)
        self._reply(frame, Message.FILE_READY, pack(Message.FILE_READY, size=size))

    def _piece(self, frame: Frame) -> None:
        put = self._put
        if put is None:
            self._fail(frame, Reason.BAD_REQUEST, "no file is on its way", None)
        elif frame.payload:
            put.data += frame.payload
        else:
            self._put = None
            self._store(put.path, put.fields, bytes(put.data))
            self._reply(frame, Message.DONE, b"")


def _numbers(message: Message, status: FileStatus) -> bytes:
    return pack(message, mode=status.mode, size=status.size, mtime_ns=unsigned(status.mtime_ns))
