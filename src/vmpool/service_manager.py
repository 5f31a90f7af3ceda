"""Telling systemd what this server, which it started, is doing (sd_notify; nothing elsewhere)."""

from __future__ import annotations

import contextlib
import os
import socket

VARIABLE = "NOTIFY_SOCKET"


class ServiceManager:
    """The socket that the environment names.  The variable is taken out: machines must not inherit it."""

    def __init__(self) -> None:
        self._address = os.environ.pop(VARIABLE, "")

    def ready(self) -> None:
        """Requests are answered."""
        self._say(b"READY=1\n")

    def stopping(self) -> None:
        """No new ones are taken."""
        self._say(b"STOPPING=1\n")

    def _say(self, message: bytes) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = self._address.encode()
        if address.startswith(b"@"):  # in the abstract namespace
            address = b"\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            with contextlib.suppress(OSError):  # whoever asked does not listen: nothing depends on it
                sender.sendto(message, address)
