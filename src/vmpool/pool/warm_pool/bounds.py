"""What an operator says of the warm pool, as one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vmpool.domain import Limits

SPARE_MB = 4
"""MB a spare costs the host: the engine's shim, the agent, the kernel's own (measured on docker)."""
INTERPRETER_MB = 7
"""MB more with its interpreter warm."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the warm pool may go.

    maximum: spares of one template; 0 means no warm pool.  minimum: spares kept of a template, by its
    name, whatever the demand.  memory: MB all spares together may cost the host.  interpreters: spares of
    each template, the next to be claimed first, that have their interpreter warm.  remember: seconds for
    which demand counts.  at_once: spares made at the same time.  limits: what spares are made with.
    """

    maximum: int = 10
    minimum: Mapping[str, int] = field(default_factory=dict)
    memory: int = 256
    interpreters: int = 1
    remember: float = 600.0
    at_once: int = 1
    limits: Limits = field(default_factory=Limits)
