"""A VM's network: what it may reach, what it has used, and what it asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vmpool.api.schemas.base import LARGEST, Answer, Request
from vmpool.domain import NetworkMode, NetworkVerdict

MOST_BYTES = 1 << 53
"""Exact in every JSON reader."""

Rules = Annotated[
    list[Annotated[str, StringConstraints(min_length=1, max_length=300)]],
    Field(max_length=256),
]
RULES = (
    "`example.org`, `*.example.org`, `*`, an address or a CIDR, each with `:port` (IPv6 then in brackets: "
    "`[2001:db8::/32]:443`)"
)


class NetworkPolicy(Request):
    """What a VM with network `filtered` may reach."""

    allow: Rules = Field(
        default_factory=list,
        description=f"Rules: {RULES}. None: every public address.",
        examples=[["api.example.org"]],
    )
    deny: Rules = Field(default_factory=list, description="Rules that win over `allow`.")
    group: Annotated[str, StringConstraints(min_length=1, max_length=63)] | None = Field(
        default=None, description="Your VMs that name the same group reach one another as `<name>.vm`."
    )
    max_connections: int | None = Field(
        default=None, gt=0, le=LARGEST, description="Open at once. Default and bound: the server's."
    )
    connections_per_second: int | None = Field(
        default=None, gt=0, le=LARGEST, description="Default and bound: the server's."
    )
    max_bytes: int | None = Field(
        default=None, gt=0, le=MOST_BYTES, description="In both directions together, over the VM's life."
    )


class NetworkLimits(Answer):
    """The limits that hold: the VM's own within the server's."""

    max_connections: int
    connections_per_second: int
    max_bytes: int | None = Field(description="null: without bound.")


class NetworkUse(Answer):
    """Since the server's start, but `bytes_used`."""

    open: int = Field(description="Connections at this moment.")
    allowed: int = Field(description="Connections that were made and have ended.")
    refused: int = Field(description="Connections that were not made: the policy or a limit forbids them.")
    failed: int = Field(description="Connections that were allowed and could not be made.")
    cut: int = Field(description="Connections the server ended: the policy changed, or a limit was reached.")
    bytes_up: int = Field(description="From the VM.")
    bytes_down: int = Field(description="To the VM.")
    bytes_used: int = Field(description="Both together over the VM's life, as `max_bytes` counts them.")


class Network(Answer):
    """A VM's network."""

    mode: NetworkMode
    policy: NetworkPolicy = Field(description="As it was asked for.")
    limits: NetworkLimits
    use: NetworkUse


class NetworkLogEntry(Answer):
    """One connection a VM asked for, once it has ended."""

    id: int
    time: datetime = Field(description="When it was asked for.")
    via: Literal["proxy", "http", "connect", "socks", "direct"] = Field(
        description="How; `direct`: without a proxy; `proxy`: it ended before it said how."
    )
    host: str = Field(description="As it was asked for.")
    port: int
    address: str | None = Field(description="What was dialled; null: nothing was, or a VM of the group.")
    verdict: NetworkVerdict
    rule: str = Field(description="What decided.")
    bytes_up: int
    bytes_down: int
    seconds: float
    skipped: int = Field(description="Entries lost before it, of a VM that asks faster than they are kept.")
