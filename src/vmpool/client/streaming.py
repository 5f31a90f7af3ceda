"""An execution's output as events, read into pieces without any I/O: shared by both clients."""

from __future__ import annotations

import codecs
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from vmpool.client.errors import APIError, ClientError, ServerUnreachable
from vmpool.client.models import Answer, Execution, Stream
from vmpool.client.sse import Event
from vmpool.client.wire import data_of, value

PATIENCE = 30.0
"""Seconds a stream that was cut is asked for again, as long as nothing more of it comes."""
PAUSE = 0.25
"""Seconds between two tries."""


@dataclass(frozen=True, slots=True)
class OutputPiece:
    """What a program wrote next in one stream.

    offset: of its first byte in the stream.  skipped: bytes before it for which the server had no room.
    """

    stream: Stream
    offset: int
    data: bytes
    skipped: int = 0

    @property
    def text(self) -> str:
        """The same as text; a character that is cut between two pieces is lost, see `Texts`."""
        return self.data.decode("utf-8", "replace")


RunEvent: TypeAlias = OutputPiece | Execution
"""A piece of output, or the execution itself: when it has begun, and when it has ended."""


class Reader:
    """Turns events into pieces.  Knows how far it is, so that a stream which was cut goes on from there.

    begun: the execution as it began, where the stream says it.  end: as it ended, once it has.
    """

    def __init__(self, stdout: int = 0, stderr: int = 0, tail: int | None = None) -> None:
        self.begun: Execution | None = None
        self.end: Execution | None = None
        self._at: dict[Stream, int] = {"stdout": stdout, "stderr": stderr}
        self._tail = tail

    @property
    def params(self) -> dict[str, str | int]:
        """The query that asks for the rest."""
        if self._tail is not None:
            return {"tail": self._tail}
        return {"stdout_offset": self._at["stdout"], "stderr_offset": self._at["stderr"]}

    def read(self, event: Event) -> RunEvent | None:
        """What the event carries; the error that the server sent in place of the rest is raised."""
        data = data_of(event)
        if event.id:
            at = event.id.split(",")
            if len(at) == 2 and all(number.isdecimal() for number in at):
                self._at, self._tail = {"stdout": int(at[0]), "stderr": int(at[1])}, None
        match event.name:
            case "stdout" | "stderr":
                piece = value(_Piece, data)
                raw = piece.text.encode() if piece.base64 is None else b64decode(piece.base64)
                stream: Stream = "stdout" if event.name == "stdout" else "stderr"
                return OutputPiece(stream, piece.offset, raw, piece.skipped)
            case "start":
                self.begun = value(Execution, data)
                return self.begun
            case "exit":
                self.end = value(Execution, data)
                return self.end
        return None  # of a newer server


class _Piece(Answer):
    offset: int
    text: str = ""
    base64: str | None = None
    skipped: int = 0


def passes(error: ClientError) -> bool:
    """Whether a stream that ended with this error may be asked for again: reading changes nothing."""
    return isinstance(error, ServerUnreachable) or (
        isinstance(error, APIError) and error.status in (502, 503)
    )


class Texts:
    """Hands output on as text, each stream to its own function; no character is cut between two calls."""

    def __init__(
        self, on_stdout: Callable[[str], None] | None, on_stderr: Callable[[str], None] | None
    ) -> None:
        self._sinks = {"stdout": on_stdout, "stderr": on_stderr}
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in self._sinks}

    def take(self, piece: OutputPiece) -> None:
        """Hand on what is complete with this piece."""
        self._give(piece.stream, self._decoders[piece.stream].decode(piece.data))

    def end(self) -> None:
        """Nothing follows."""
        for stream, decoder in self._decoders.items():
            self._give(stream, decoder.decode(b"", True))

    def _give(self, stream: str, text: str) -> None:
        sink = self._sinks[stream]
        if sink is not None and text:
            sink(text)
