"""What a running server says of itself: figures, spans, and the ids its log lines carry.

Below everything that is watched, so that each part can say what it does; how it is read (`/metrics`, the log,
a collector of traces) is decided above.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vmpool.telemetry.metrics import Metrics
from vmpool.telemetry.tracing import Tracer


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One server's: what it counts, and where its spans go (nowhere, unless configured)."""

    metrics: Metrics = field(default_factory=Metrics)
    tracer: Tracer = field(default_factory=Tracer)


__all__ = ["Metrics", "Telemetry", "Tracer"]
