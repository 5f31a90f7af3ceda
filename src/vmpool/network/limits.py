"""How much a VM may do with its network at most."""

from __future__ import annotations

from dataclasses import dataclass

from vmpool.domain.network import NetworkPolicy


@dataclass(frozen=True, slots=True)
class NetworkLimits:
    """The operator's bounds for each VM.

    max_connections: open at once.  connections_per_second: begun in any second.  max_bytes: in both
    directions, over the VM's life; None: without bound.  idle_timeout: seconds without a byte after which a
    connection is ended.  connect_timeout: seconds for resolving, and for connecting.
    """

    max_connections: int = 256
    connections_per_second: int = 100
    max_bytes: int | None = None
    idle_timeout: float = 300.0
    connect_timeout: float = 10.0

    def within(self, policy: NetworkPolicy) -> NetworkLimits:
        """These bounds, narrowed to what the policy names."""
        return NetworkLimits(
            max_connections=_lower(self.max_connections, policy.max_connections),
            connections_per_second=_lower(self.connections_per_second, policy.connections_per_second),
            max_bytes=policy.max_bytes
            if self.max_bytes is None
            else _lower(self.max_bytes, policy.max_bytes),
            idle_timeout=self.idle_timeout,
            connect_timeout=self.connect_timeout,
        )


def _lower(bound: int, asked: int | None) -> int:
    return bound if asked is None else min(bound, asked)


class Rate:
    """Lets through as many in any second as it is told at each asking; what was not used does not add up."""

    def __init__(self) -> None:
        self._left = 0.0
        self._at = float("-inf")

    def take(self, per_second: int, now: float) -> bool:
        """Whether one more may pass at `now` (seconds of any steady clock)."""
        self._left = min(per_second, self._left + (now - self._at) * per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
