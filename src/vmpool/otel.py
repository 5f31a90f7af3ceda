"""Traces by OpenTelemetry, for servers whose settings ask for them: `pip install 'vmpool[otel]'`.

Imported by nobody else, so a server without traces neither needs these packages nor waits for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from vmpool import __version__
from vmpool.settings import Traces
from vmpool.telemetry.tracing import Attribute, Tracer


class OpenTelemetry(Tracer):
    """A tracer that is on.  provider: what the spans go through; `close` shuts it down."""

    on = True

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("vmpool", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def span(
        self, name: str, attributes: Mapping[str, Attribute] | None = None
    ) -> AbstractContextManager[object]:
        """What is done in this block; an exception that leaves it marks the span as failed."""
        return self._tracer.start_as_current_span(name, attributes=attributes)

    def request(self, name: str, traceparent: str | None) -> AbstractContextManager[object]:
        """A server's span; a malformed `traceparent` counts as none."""
        parent = self._propagator.extract({"traceparent": traceparent} if traceparent else {})
        return self._tracer.start_as_current_span(name, context=parent, kind=SpanKind.SERVER)

    def describe(self, span: object, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Name a span by what it turned out to be, and say more of it."""
        assert isinstance(span, Span)
        span.update_name(name)
        span.set_attributes(attributes)

    def close(self) -> None:
        """Hand on what has gathered; waits for the collector, but not for ever."""
        self._provider.shutdown()


def open_tracer(traces: Traces) -> OpenTelemetry:
    """The tracer of these settings; its exporter works in a thread of its own."""
    exporter: SpanExporter
    if traces.exporter == "console":
        exporter = ConsoleSpanExporter()
    else:
        exporter = OTLPSpanExporter(endpoint=traces.endpoint)
    provider = TracerProvider(
        resource=Resource.create({"service.name": "vmpool", "service.version": __version__}),
        sampler=ParentBased(TraceIdRatioBased(traces.ratio)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OpenTelemetry(provider)
