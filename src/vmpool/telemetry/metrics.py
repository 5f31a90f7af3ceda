"""What a server counts, all names in one place.  `docs/operations.md` says what each is good for."""

from __future__ import annotations

from collections.abc import Iterator

from vmpool.telemetry.instruments import Counter, Family, Histogram

QUICK = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0)
"""Upper bounds in seconds for what usually takes less than a millisecond."""


class Metrics:
    """One server's counters and histograms.

    Labels take their values from bounded sets: routes, never paths; templates, never names; no user and no
    VM has a series of its own.
    """

    def __init__(self) -> None:
        self.http_requests = Counter(
            "vmpool_http_requests_total", "Requests answered.", "method", "route", "status"
        )
        self.http_duration = Histogram(
            "vmpool_http_request_duration_seconds",
            "From a request's head to the end of its answer; a stream counts until it ends.",
            "route",
        )
        self.refusals = Counter(
            "vmpool_refusals_total", "Answers that were an error, by its code (docs/errors.md).", "code"
        )
        self.creates = Counter(
            "vmpool_vm_creates_total",
            "Creates that were admitted, by template, start (warm: from the warm pool) and result.",
            "template",
            "start",
            "result",
        )
        self.create_duration = Histogram(
            "vmpool_vm_create_duration_seconds", "From a create's request to a running VM.", "start"
        )
        self.executions = Counter(
            "vmpool_executions_total", "Executions that ended, by language and result.", "language", "result"
        )
        self.execution_duration = Histogram(
            "vmpool_execution_duration_seconds",
            "From taking an execution to its settled row; none of a taken-over one.",
            "language",
        )
        self.agent_connections = Counter(
            "vmpool_agent_connections_total",
            "Connections to guest agents that were opened: first ones, and those that replace a broken one.",
            "kind",
        )
        self.agent_failures = Counter(
            "vmpool_agent_unreachable_total", "Times all tries to reach an agent had failed."
        )
        self.rounds = Counter("vmpool_reconciler_rounds_total", "Looks at everything, by result.", "result")
        self.repairs = Counter("vmpool_reconciler_repairs_total", "What was repaired, by kind.", "repair")
        self.commits = Histogram(
            "vmpool_database_commit_duration_seconds",
            "How long writers wait: for a flushed commit, or for a row that is flushed later.",
            "kind",
            bounds=QUICK,
        )
        self.loop_lag = Histogram(
            "vmpool_event_loop_lag_seconds", "How late the event loop wakes who sleeps.", bounds=QUICK
        )

    def families(self) -> Iterator[Family]:
        """All of them, as they are now."""
        for instrument in vars(self).values():
            if isinstance(instrument, Counter | Histogram):
                yield instrument.family()
