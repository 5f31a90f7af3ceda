"""What is kept of a program's output: its beginning and its end, in bounded memory."""

from __future__ import annotations

import codecs


class Capture:
    """One stream of one execution.  At most `limit` bytes are held, however much was written.

    Up to `limit` bytes everything is kept.  Past it the first and the last half are, with a line between
    them that says how much is missing: a failing build explains itself at its end.
    """

    __slots__ = ("_gap", "_head", "_head_limit", "_tail", "_tail_limit", "total")

    def __init__(self, limit: int) -> None:
        self._tail_limit = limit // 2
        self._head_limit = limit - self._tail_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._gap = 0
        self.total = 0

    def add(self, data: bytes) -> None:
        """Append what the program wrote next."""
        self.total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0 and not self._gap:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail += data
            if len(self._tail) > 2 * self._tail_limit + 65_536:  # cut seldom, so that cutting is cheap
                self._cut()

    def skip(self, count: int) -> None:
        """Note that `count` bytes were written here which nobody has any more."""
        if count > 0:
            self._head += self._tail
            self._tail.clear()
            self._gap += count
            self.total += count
            self._head_limit = max(self._head_limit, len(self._head))

    def _cut(self) -> None:
        surplus = len(self._tail) - self._tail_limit
        if surplus > 0:
            del self._tail[:surplus]
            self._gap += surplus

    @property
    def truncated(self) -> bool:
        """Whether more was written than is held."""
        return self._gap > 0 or len(self._tail) > self._tail_limit

    def held(self) -> tuple[str, bool]:
        """What is held, as text, and whether that text says every byte that was written."""
        text = self.text()
        if self.truncated or "\0" in text:  # a database cannot keep NUL
            return text, False
        return text, text.isascii() or "\ufffd" not in text

    def text(self) -> str:
        """What is held, as text: bytes that are not UTF-8 become U+FFFD."""
        if not self.truncated:
            return (bytes(self._head) + self._tail).decode("utf-8", "replace")
        self._cut()
        head = codecs.getincrementaldecoder("utf-8")("replace").decode(self._head)
        tail = self._tail
        start = 0
        while start < min(3, len(tail)) and tail[start] & 0xC0 == 0x80:  # rest of a character cut apart
            start += 1
        return f"{head}\n[{self._gap} bytes left out]\n{tail[start:].decode('utf-8', 'replace')}"
