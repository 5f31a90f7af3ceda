"""Where a VM wants to go: a host as it was asked for, and a port.  Every text comes from a hostile guest."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vmpool.network.addresses import Address, parse

LONGEST_NAME = 253
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PORT = re.compile(r"[0-9]{1,5}")


class BadDestination(ValueError):
    """No host, or no port; the message is one clause for people."""


@dataclass(frozen=True, slots=True)
class Destination:
    """host: a name in lower case without a dot at its end, or an address.  address: where it is one."""

    host: str
    port: int
    address: Address | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, host: str, port: int) -> Destination:
        """A destination of a host and a port that were sent apart; BadDestination."""
        if not 0 < port < 65536:
            raise BadDestination(f"{port} is not a port")
        name = host if ":" in host else hostname(host)
        address = parse(name)
        if address is None and ":" in name:
            raise BadDestination("is not a name of a host")
        return cls(name if address is None else str(address), port, address)

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Destination:
        """`host:port`, an IPv6 address in brackets; without a default the port must be there."""
        host, port = split_port(text)
        if port is None:
            port = default_port
        if port is None:
            raise BadDestination("has no port")
        if host.startswith("["):
            address = parse(host[1:-1]) if host.endswith("]") and ":" in host else None
            if address is None:
                raise BadDestination("has no IPv6 address between its brackets")
            return cls.of(str(address), port)
        return cls.of(host, port)


def hostname(text: str) -> str:
    """A name in lower case without a dot at its end; BadDestination for what cannot be one."""
    name = text.lower().removesuffix(".")
    if not name:
        raise BadDestination("has no host")
    if len(name) > LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadDestination("is not a name of a host")
    return name


def split_port(text: str) -> tuple[str, int | None]:
    """Text before a port, and the port; a colon inside brackets belongs to an IPv6 address."""
    if text.endswith("]") or ":" not in text:
        return text, None
    host, _, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise BadDestination(f"'{port[:20]}' is not a port")
    if ":" in host and not host.startswith("["):
        raise BadDestination("writes an IPv6 address without brackets")
    return host, int(port)
