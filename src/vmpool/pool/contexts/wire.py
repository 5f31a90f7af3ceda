"""What a kernel says, from bytes.  Pure; every byte is hostile: it could send anything.

Two ways of speaking.  *Frames*: a line of JSON for each message, on a stream of their own::

    {"t": "ready"}
    {"t": "text",  "n": 3, "s": "stdout", "d": "hi\\n"}         of cell 3, what it wrote
    {"t": "show",  "n": 3, "k": "result", "m": {"text/plain": "42"}}
    {"t": "error", "n": 3, "name": "ValueError", "value": "no", "trace": "..."}
    {"t": "end",   "n": 3, "ok": true}
    {"t": "sync",  "c": "what was asked", "n": 3}

*Marks*: the program's own output, and in it `RS <mark>:end:<number>:<status> RS` or `RS <mark>:sync:<asked>:
<number> RS`, RS being the control character of that name.  The mark is random, so none is there by chance.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic_core import from_json

from vmpool.domain.code_context import Raised, Shown, Text

LARGEST_FRAME: Final = 8 << 20
"""Bytes of one message; a kernel of ours sends none that is larger."""
LARGEST_MARK: Final = 160
MOST_FORMS: Final = 32
LONGEST_NAME: Final = 255
RS: Final = b"\x1e"


class BrokenKernel(Exception):
    """It says what no kernel of ours would."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The kernel takes cells."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A cell has ended, as far as this stream is concerned.  status: 0 if well."""

    number: int
    stream: str
    status: int


@dataclass(frozen=True, slots=True)
class Synced:
    """The answer to a question of the host's; number: of the last cell."""

    asked: str
    number: int


Message = Ready | Text | Shown | Raised | Ended | Synced


class Frames:
    """Lines of JSON."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes; BrokenKernel."""
        *lines, rest = data.split(b"\n")
        found: list[Message] = []
        for line in lines:
            found.append(self._read(b"".join([*self._rest, line])))
            self._rest, self._size = [], 0
        self._size += len(rest)
        if self._size > LARGEST_FRAME:
            raise BrokenKernel("a message without end")
        if rest:
            self._rest.append(rest)
        return found

    def _read(self, line: bytes) -> Message:
        if len(line) > LARGEST_FRAME:
            raise BrokenKernel("a message that is too large")
        try:
            message = from_json(line, allow_inf_nan=False)
        except ValueError as error:
            raise BrokenKernel("a message that is no JSON") from error
        if not isinstance(message, dict):
            raise BrokenKernel("a message that is no object")
        match message.get("t"):
            case "ready":
                return Ready()
            case "text":
                stream = _text(message, "s")
                return Text("stderr" if stream == "stderr" else "stdout", _text(message, "d"))
            case "show":
                return Shown(_forms(message.get("m")), message.get("k") == "result")
            case "error":
                return Raised(_text(message, "name"), _text(message, "value"), _text(message, "trace"))
            case "end":
                return Ended(_number(message, "n"), self._stream, 0 if message.get("ok") is True else 1)
            case "sync":
                return Synced(_text(message, "c"), _number(message, "n"))
        raise BrokenKernel("a message of no known kind")


class Marks:
    """Output with marks in it."""

    def __init__(self, stream: str, mark: str) -> None:
        self._stream = stream
        self._pattern = re.compile(
            rb"\x1e" + re.escape(mark.encode()) + rb":(end|sync):([0-9a-f]{1,32}):([0-9]{1,10})\x1e"
        )
        self._held = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes, text included."""
        data = self._held + data
        found: list[Message] = []
        at = 0
        for mark in self._pattern.finditer(data):
            self._say(data[at : mark.start()], found)
            number = int(mark[3])
            if mark[1] == b"sync":
                found.append(Synced(mark[2].decode(), number))
            elif mark[2].isdigit():
                found.append(Ended(int(mark[2]), self._stream, number))
            at = mark.end()
        begun = data.rfind(RS, max(at, len(data) - LARGEST_MARK))
        if begun < 0 or self._is_text(data, begun, at):
            begun = len(data)
        self._say(data[at:begun], found)
        self._held = data[begun:]
        return found

    def _is_text(self, data: bytes, begun: int, at: int) -> bool:
        """Whether the last RS can only be text: what follows is longer than any mark."""
        return begun < at or len(data) - begun >= LARGEST_MARK

    def _say(self, data: bytes, found: list[Message]) -> None:
        text = self._decoder.decode(data)
        if text:
            found.append(Text(self._stream, text))


def _text(message: Mapping[str, object], name: str) -> str:
    value = message.get(name)
    if not isinstance(value, str):
        raise BrokenKernel(f"a message whose '{name}' is no text")
    return value


def _number(message: Mapping[str, object], name: str) -> int:
    value = message.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise BrokenKernel(f"a message whose '{name}' is no number")
    return value


def _forms(value: object) -> dict[str, object]:
    if not isinstance(value, dict) or len(value) > MOST_FORMS:
        raise BrokenKernel("forms that are none")
    if any(len(mime) > LONGEST_NAME for mime in value):
        raise BrokenKernel("a MIME type that is none")
    return value
