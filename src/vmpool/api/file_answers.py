"""From what is known of files to the wire models, and from parameters to paths."""

from __future__ import annotations

import posixpath
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

from fastapi import Depends, Query
from starlette.requests import Request

from vmpool.agent.file_values import FileStatus
from vmpool.agent.files import LONGEST_PATH
from vmpool.agent.watching import Change
from vmpool.api.answers import stamp
from vmpool.api.schemas.files import FileChange, FileInfo, RefusedFile, UnpackedTree
from vmpool.errors import InvalidRequest
from vmpool.pool.files import version_of
from vmpool.pool.unpacking import Unpacked

_EPOCH = datetime(1970, 1, 1)
_WHAT = (
    "Bytes, percent-encoded; what is not absolute is relative to the home directory. "
    "Links are followed as a program in the VM would."
)
_Text = Annotated[str, Query(min_length=1, max_length=LONGEST_PATH, description=_WHAT, examples=["a.txt"])]


def parameter(request: Request, name: str) -> bytes:
    """A parameter of the query as the bytes it stands for, which need not be text; the last of several."""
    found = b""
    for part in request.scope["query_string"].split(b"&"):
        key, _, value = part.replace(b"+", b" ").partition(b"=")
        if unquote_to_bytes(key) == name.encode():
            found = unquote_to_bytes(value)
    if not 0 < len(found) <= LONGEST_PATH:
        raise InvalidRequest(name, f"must be 1 to {LONGEST_PATH} bytes")
    if b"\0" in found:
        raise InvalidRequest(name, "a path cannot hold a NUL byte")
    return found


def _path(request: Request, path: _Text) -> bytes:
    return parameter(request, "path")


def _directory(request: Request, path: _Text = ".") -> bytes:
    return parameter(request, "path") if "path" in request.query_params else b"."


def _to(request: Request, to: _Text) -> bytes:
    return parameter(request, "to")


PathParameter = Annotated[bytes, Depends(_path)]
"""Which file or directory."""
DirectoryParameter = Annotated[bytes, Depends(_directory)]
"""Which directory; the home directory unless it says."""
ToParameter = Annotated[bytes, Depends(_to)]
"""The other path."""
ModeParameter = Annotated[
    str | None,
    Query(pattern="^[0-7]{1,4}$", max_length=4, description="Permission bits, octal.", examples=["0755"]),
]
TimeParameter = Annotated[
    int | None,
    Query(ge=0, le=(1 << 63) - 1, description="Time of its last change, in nanoseconds since 1970."),
]


def bits(mode: str | None) -> int | None:
    """Permission bits from their octal form."""
    return None if mode is None else int(mode, 8)


def info(path: bytes, of: FileStatus) -> FileInfo:
    """What is known of the file at `path`, or called so."""
    name = posixpath.basename(path.rstrip(b"/")) or b"/"
    return FileInfo(
        name=_text(name),
        encoded_name=quote_from_bytes(name),
        kind=_kind(of),
        size=of.size,
        mode=f"{of.mode & 0o7777:04o}",
        mtime_ns=of.mtime_ns,
        modified_at=_time(of.mtime_ns),
        version=version_of(of),
        target=_text(of.target) if of.is_link else None,
        encoded_target=quote_from_bytes(of.target) if of.is_link else None,
    )


def change(of: Change) -> FileChange:
    """One change of what is watched."""
    moved = of.moved_from
    return FileChange(
        kind=of.kind.value,
        path=_text(of.path),
        encoded_path=quote_from_bytes(of.path),
        directory=of.is_directory,
        moved_from=None if moved is None else _text(moved),
        encoded_moved_from=None if moved is None else quote_from_bytes(moved),
    )


def unpacked(of: Unpacked) -> UnpackedTree:
    """What came of an archive."""
    return UnpackedTree(
        entries=of.entries,
        bytes=of.size,
        refused=[
            RefusedFile(
                name=_text(entry.name), encoded_name=quote_from_bytes(entry.name), problem=entry.problem
            )
            for entry in of.refused
        ],
        more_refused=of.more_refused,
    )


def _kind(of: FileStatus) -> Literal["file", "directory", "link", "other"]:
    if of.is_file:
        return "file"
    return "directory" if of.is_directory else "link" if of.is_link else "other"


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _time(nanoseconds: int) -> datetime | None:
    try:
        return stamp(_EPOCH + timedelta(microseconds=nanoseconds // 1000))
    except OverflowError:
        return None
