"""Long answers of bytes, whole or in part (RFC 9110, section 14), in constant memory."""

from __future__ import annotations

import re

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from vmpool.errors import RangeNotSatisfiable
from vmpool.pool.outputs import StoredOutput

MEDIA_TYPE = "application/octet-stream"
_CONTENT = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_STATE = {
    "X-Execution-State": {
        "description": "`running`: more may come; `ended`: this is all.",
        "schema": {"type": "string", "enum": ["running", "ended"]},
    }
}
ANSWERS: dict[int | str, dict[str, object]] = {
    200: {"description": "From `offset` to the end.", "content": _CONTENT, "headers": _STATE},
    206: {"description": "The range that was asked for.", "content": _CONTENT, "headers": _STATE},
}
"""What a route that answers with `send` may answer."""

_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")


def send(stored: StoredOutput, offset: int, asked: str | None) -> StreamingResponse:
    """The answer; it closes `stored`.  asked: the request's Range header.  Raises RangeNotSatisfiable."""
    try:
        found = None if offset else part(asked, stored.size)
        if offset > stored.size:
            raise RangeNotSatisfiable("offset", stored.size)
    except RangeNotSatisfiable:
        stored.close()
        raise
    start, stop = found or (offset, stored.size)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(stop - start),
        "X-Execution-State": "ended" if stored.complete else "running",
    }
    if found is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
    return _Bytes(stored, start, stop, 200 if found is None else 206, headers)


def part(asked: str | None, size: int) -> tuple[int, int] | None:
    """Where the one range begins and ends (exclusive); None for the whole.

    What is not one range of bytes is ignored, as the standard allows.  Raises RangeNotSatisfiable.
    """
    match = None if asked is None else _RANGE.fullmatch(asked.replace(" ", ""))
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable("Range", size)
    return start, stop


class _Bytes(StreamingResponse):
    """Streams a part of a stored output, which it closes whatever happens."""

    def __init__(
        self, stored: StoredOutput, start: int, stop: int, status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(stored.read(start, stop), status, headers, MEDIA_TYPE)
        self._stored = stored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stored.close()
