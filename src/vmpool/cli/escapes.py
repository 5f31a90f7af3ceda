"""What a user types to the command itself while all else goes to the VM: `~` at the beginning of a line.

As in ssh(1), ESCAPE CHARACTERS.  Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ESCAPE = ord("~")
_NEWLINES = b"\r\n"


class Wish(StrEnum):
    """What is asked of the command, by the character after the escape."""

    END = "."
    DETACH = "d"
    HELP = "?"


_BY_BYTE = {ord(wish.value): wish for wish in Wish}


@dataclass(slots=True)
class Escapes:
    """Splits what is typed.  at_line_start: an escape would be one now.  held: it was, and waits for more."""

    at_line_start: bool = True
    held: bool = False

    def feed(self, typed: bytes) -> list[bytes | Wish]:
        """What goes to the VM and what is asked of the command, in order."""
        found: list[bytes | Wish] = []
        text = bytearray()
        for byte in typed:
            if self.held:
                self.held = False
                wish = _BY_BYTE.get(byte)
                if wish is not None:
                    if text:
                        found.append(bytes(text))
                        text.clear()
                    found.append(wish)
                    continue
                if byte != ESCAPE:  # `~~` is one of them, and `~x` both
                    text.append(ESCAPE)
            elif byte == ESCAPE and self.at_line_start:
                self.held = True
                continue
            text.append(byte)
            self.at_line_start = byte in _NEWLINES
        if text:
            found.append(bytes(text))
        return found
