"""Server-sent events (WHATWG HTML, section 9.2), decoded from bytes without any I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Event:
    """One event.  id: what to send as Last-Event-ID to go on after it."""

    name: str
    data: str
    id: str


class Decoder:
    """Turns chunks of bytes, cut anywhere, into events.

    Lines end with LF or CR LF.  They are found in bytes: text has further line ends (U+2028, U+0085) that
    JSON does not escape.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._id = ""
        self._last_id = ""
        self._name = ""
        self._data: list[str] = []

    @property
    def last_id(self) -> str:
        """The last id that came with an event, or by itself, and was complete; empty where none was."""
        return self._last_id

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        found = (self._line(line.removesuffix(b"\r").decode("utf-8", "replace")) for line in lines)
        return [event for event in found if event is not None]

    def _line(self, line: str) -> Event | None:
        if not line:
            return self._complete()
        name, _, value = line.partition(":")  # a line that starts with a colon is a comment: name is empty
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _complete(self) -> Event | None:
        name, data, self._last_id = self._name or "message", self._data, self._id
        self._name, self._data = "", []
        return Event(name, "\n".join(data), self._id) if data else None
