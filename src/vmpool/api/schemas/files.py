"""Files."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from vmpool.api.schemas.base import Answer


class FileInfo(Answer):
    """What is known of a file, a directory or a link."""

    name: str = Field(description="The last name of its path, for people: what is no text is replaced.")
    encoded_name: str = Field(description="The same percent-encoded, exactly, as a `path` takes it.")
    kind: Literal["file", "directory", "link", "other"]
    size: int = Field(description="Bytes.")
    mode: str = Field(description="Permission bits, octal.", examples=["0644"])
    mtime_ns: int = Field(description="Nanoseconds since 1970 of its last change.")
    modified_at: datetime | None = Field(description="The same as a time; null where it is none.")
    version: str = Field(description="Changes with the content; the ETag of a file, without its quotes.")
    target: str | None = Field(default=None, description="Where a link leads, for people.")
    encoded_target: str | None = Field(default=None, description="The same percent-encoded, exactly.")


class FileChange(Answer):
    """One change of what is watched."""

    kind: Literal["created", "changed", "attributes", "removed", "moved", "lost"] = Field(
        description="`lost`: changes went by unseen, look anew."
    )
    path: str = Field(
        description="Relative to what is watched, for people; empty for that itself and for `lost`."
    )
    encoded_path: str = Field(description="The same percent-encoded, exactly.")
    directory: bool = Field(description="Whether it is a directory.")
    moved_from: str | None = Field(default=None, description="Where it was, for people.")
    encoded_moved_from: str | None = Field(default=None, description="The same percent-encoded, exactly.")


class RefusedFile(Answer):
    """An entry of an archive that was left out."""

    name: str
    encoded_name: str
    problem: str


class UnpackedTree(Answer):
    """What came of an archive."""

    entries: int = Field(description="How many were unpacked.")
    bytes: int = Field(description="Of the content of all files.")
    refused: list[RefusedFile]
    more_refused: int = Field(description="Refused entries beyond those that are listed.")
