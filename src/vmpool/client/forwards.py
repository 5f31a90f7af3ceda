"""A port of a VM on this machine, as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmpool.client.errors import ClientError

Problem = Callable[[ClientError], None]
"""Hears of a connection that could not be carried."""


def silence(error: ClientError) -> None:
    """A problem that nobody asked to hear of: whoever connected sees the connection closed."""


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of a VM, on this machine.  host, port: where to connect.  remote: the port in the VM."""

    host: str
    port: int
    remote: int

    @property
    def url(self) -> str:
        """Of what listens there, if it speaks HTTP."""
        return f"http://{self.host}:{self.port}"
