"""Traces: what a request was spent on, when asked for; nothing at all when not."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.server_process import server
from vmpool import otel
from vmpool.app import telemetry_of
from vmpool.errors import InvalidRequest
from vmpool.settings import Settings, Traces
from vmpool.telemetry.tracing import NOTHING, Tracer

from .caller import Caller

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FROM_A_CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(otel, "open_tracer", lambda _: otel.OpenTelemetry(provider))
    return exporter


@pytest.fixture
def settings(settings: Settings, spans: InMemorySpanExporter) -> Settings:
    return settings.model_copy(update={"traces": Traces(exporter="console")})


def tree(spans: InMemorySpanExporter) -> list[tuple[str, str | None]]:
    """Each span with its parent's name, in the order they ended."""
    ended = spans.get_finished_spans()
    names = {span.context.span_id: span.name for span in ended if span.context}
    return [(span.name, names.get(span.parent.span_id) if span.parent else None) for span in ended]


@pytest.mark.anyio
async def test_what_a_request_was_spent_on(owner: Caller, spans: InMemorySpanExporter) -> None:
    await owner.create(env={"TOKEN": "xyzzy"})
    create = "POST /api/vms/create"
    assert tree(spans) == [("admission", create), ("backend.create", create), (create, None)]
    spans.clear()

    body = {"code": "print('xyzzy')"}
    answer = await owner.call("POST", "/api/vms/box/execute", body, headers=FROM_A_CALLER)
    execute = "POST /api/vms/{vm_id}/execute"
    assert tree(spans) == [
        ("store.begin", execute),
        ("agent.start", execute),
        ("store.record", "program"),
        ("program", execute),
        (execute, None),
    ]
    request: ReadableSpan = spans.get_finished_spans()[-1]
    assert request.parent is not None and f"{request.parent.span_id:016x}" == PARENT
    assert {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans() if span.context} == {TRACE}
    attributes = request.attributes or {}
    assert attributes["http.response.status_code"] == 200
    assert attributes["vmpool.request_id"] == answer.headers["x-request-id"]
    spans.clear()

    await owner.call("GET", "/api/vms/none?key=xyzzy", headers={"traceparent": "xyzzy"})
    [refused] = spans.get_finished_spans()
    assert (refused.name, refused.parent) == ("GET /api/vms/{vm_id}", None)
    assert (refused.attributes or {})["error.type"] == "vm_not_found"
    assert "xyzzy" not in refused.to_json()


def test_off_is_nothing() -> None:
    assert Tracer().span("x") is NOTHING
    look = "import sys, vmpool.app; sys.exit(bool({'vmpool.otel', 'opentelemetry.sdk'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


@pytest.mark.anyio
async def test_without_the_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "vmpool.otel")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    settings = Settings(state_dir=tmp_path, traces=Traces(exporter="otlp"))
    with pytest.raises(InvalidRequest, match=r"pip install 'vmpool\[otel\]'"):
        async with telemetry_of(settings):
            raise AssertionError("was opened")


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Takes what is sent to it over HTTP."""
    taken: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/v1/traces", taken
        listening.shutdown()
        thread.join()


def test_a_collector_gets_them(tmp_path: Path, collector: tuple[str, list[tuple[str, bytes]]]) -> None:
    url, taken = collector
    options = {"TRACES__EXPORTER": "otlp", "TRACES__ENDPOINT": url, "BACKEND": "fake"}
    with server(tmp_path / "state", tmp_path / "output", **options) as running:
        running.client.get("/api/vms")
        assert running.end() == 0
    assert {path for path, _ in taken} == {"/v1/traces"}
    sent = b"".join(body for _, body in taken)
    assert b"GET /api/vms" in sent
    assert running.key.encode() not in sent
