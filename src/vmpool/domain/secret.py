"""Secrets: what they are called, how large they are, and how they are kept out of outputs.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""What a variable of the environment may be called."""
SHORTEST = 8
"""Bytes of a value: hiding shorter ones would make any output unreadable, and hide nothing."""
LONGEST = 8192
MAX_HOSTS = 8
"""That one secret is for."""
SENDABLE = re.compile(r"[\x20-\x7e]+")
"""What a value may be that is put into a header."""
MAX_SECRETS = 64
"""Of one user, those of VMs included."""


@dataclass(frozen=True, slots=True)
class Secret:
    """One of a user's, without its value.  vm_id: for this VM only; None: for all.  Times are naive UTC.

    hosts: it never enters a VM, and is put into requests to these.
    """

    id: int
    user_id: int
    vm_id: int | None
    name: str
    created_at: datetime
    updated_at: datetime
    hosts: tuple[str, ...] = ()


def problem_of_value(value: str) -> str | None:
    """What is wrong with a value, in a clause; None where nothing is."""
    if not SHORTEST <= len(value.encode("utf-8", "replace")) <= LONGEST:
        return f"must be {SHORTEST} to {LONGEST} bytes"
    if "\0" in value or not _encodable(value):
        return "must be UTF-8 text without NUL"
    return None


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class Mask:
    """Some values, and what finds them in bytes.  A value of several lines is found line by line too."""

    def __init__(self, values: Iterable[str]) -> None:
        found: set[bytes] = set()
        for value in values:
            whole = value.encode()
            found |= {whole, *(line for line in whole.splitlines() if len(line) >= SHORTEST)}
        self._values = sorted(found, key=lambda value: (-len(value), value))
        self._pattern = re.compile(b"|".join(map(re.escape, self._values)))

    def __bool__(self) -> bool:
        return bool(self._values)

    def hide(self, data: bytes) -> bytes:
        """The data with each value as so many asterisks: nothing moves."""
        if not self._values:
            return data
        shown, found = bytearray(data), self._pattern.search(data)
        while found is not None:
            shown[found.start() : found.end()] = b"*" * len(found[0])
            found = self._pattern.search(data, found.start() + 1)  # another may begin within it
        return bytes(shown)

    def open_end(self, data: bytes) -> int:
        """Bytes at the end that may be the beginning of a value."""
        return max((_begun(value, data) for value in self._values), default=0)


class MaskedStream:
    """One stream on its way: values are hidden however it is cut into pieces.

    What may be the beginning of a value is held back until more comes.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._raw = b""
        self._shown = b""

    def feed(self, data: bytes) -> bytes:
        """What can be let out with these bytes."""
        raw = self._raw + data
        shown = bytearray(self._mask.hide(raw))
        for place, before in enumerate(self._shown):
            if before != self._raw[place]:  # the end of a value whose beginning is out already
                shown[place] = before
        cut = len(raw) - self._mask.open_end(raw)
        self._raw, self._shown = raw[cut:], bytes(shown[cut:])
        return bytes(shown[:cut])

    def end(self) -> bytes:
        """What was held back; nothing more comes."""
        held, self._raw, self._shown = self._shown, b"", b""
        return held


def _begun(value: bytes, data: bytes) -> int:
    """How many bytes at the end of the data are the beginning of the value, but not all of it."""
    place = max(0, len(data) - len(value) + 1)
    while (place := data.find(value[:1], place)) != -1:
        if value.startswith(data[place:]):
            return len(data) - place
        place += 1
    return 0
