"""`/metrics`: who may read it, that Prometheus can, and that it counts what happened."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import ASGIApp

from tests.unit.pool.world import eventually
from vmpool.api.server import create_app
from vmpool.api.services import Services
from vmpool.backends.base import MachineKey
from vmpool.backends.fake import FakeBackend
from vmpool.errors import BackendFailed

from .caller import Caller

pytestmark = pytest.mark.anyio

Figures = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def figures(caller: Caller) -> Figures:
    """Everything `/metrics` says, as Prometheus' own parser reads it."""
    answer = await caller.call("GET", "/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found: Figures = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{sample.name} is said twice"
            found[key] = sample.value
    return found


def of(found: Figures, name: str, **labels: str) -> float:
    """The sum of a name's samples that have these labels."""
    return sum(
        value
        for (named, has), value in found.items()
        if named == name and labels.items() <= dict(has).items()
    )


async def test_it_counts_what_happened(owner: Caller) -> None:
    box = await owner.create()
    await owner.execute("box", "print(1)")
    await owner.execute("box", "import sys; sys.exit(3)")
    await owner.refused("GET", "/api/vms/none", status=404, code="vm_not_found")
    await owner.call("GET", "/api/secret/path")
    found = await figures(owner)

    assert of(found, "vmpool_vms", state="running", template="python", backend="fake") == 1
    assert of(found, "vmpool_vm_creates_total", template="python", result="running") == 1
    assert of(found, "vmpool_vm_create_duration_seconds_count") == 1
    assert of(found, "vmpool_executions_total", language="python", result="succeeded") == 1
    assert of(found, "vmpool_executions_total", language="python", result="failed") == 1
    assert of(found, "vmpool_execution_duration_seconds_count", language="python") == 2
    assert of(found, "vmpool_executions_in_flight") == 0
    assert of(found, "vmpool_refusals_total", code="vm_not_found") == 1
    # A VM that waits in the warm pool may have been made, and has an agent too.
    assert of(found, "vmpool_agent_connections_total", kind="first") >= 1
    assert of(found, "vmpool_agents_connected") >= 1
    assert of(found, "vmpool_reconciler_rounds_total", result="done") >= 1
    assert of(found, "vmpool_database_commit_duration_seconds_count", kind="group") >= 1
    assert of(found, "vmpool_database_commit_duration_seconds_count", kind="behind") >= 4
    route = "/api/vms/{vm_id}/execute"
    assert of(found, "vmpool_http_requests_total", method="POST", route=route, status="200") == 2
    assert of(found, "vmpool_http_request_duration_seconds_count", route=route) == 2
    assert of(found, "vmpool_http_requests_total", route="/api/vms/{vm_id}", status="404") == 1
    assert of(found, "vmpool_http_requests_total", route="unmatched", status="404") == 1
    assert of(found, "process_resident_memory_bytes") > 1 << 20
    assert of(found, "process_open_fds") > 3

    await owner.ok("DELETE", f"/api/vms/{box['id']}", status=204)
    assert of(await figures(owner), "vmpool_vms") == 0


async def test_what_failed_and_what_was_repaired(
    owner: Caller, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = services.pool._backend
    assert isinstance(backend, FakeBackend)
    box = await owner.create()

    async def fails(*_: object) -> None:
        raise BackendFailed("no room")

    with monkeypatch.context() as patched:
        patched.setattr(backend, "create", fails)
        body = {"name": "other", "language": "bash"}
        await owner.refused("POST", "/api/vms/create", body, status=502, code="backend_failed")
    await backend.host.vanish(MachineKey(box["id"]))
    services.pool._context.suspect()

    async def noticed() -> bool:
        return bool((await owner.ok("GET", "/api/vms/box"))["status"] == "error")

    await eventually(noticed)
    found = await figures(owner)
    assert of(found, "vmpool_vm_creates_total", template="bash", start="cold", result="failed") == 1
    assert of(found, "vmpool_refusals_total", code="backend_failed") == 1
    assert of(found, "vmpool_reconciler_repairs_total", repair="mark_gone") == 1
    assert of(found, "vmpool_vms", state="error") == 1
    assert of(found, "vmpool_warm_pool_claims_total", result="dry") >= 1


async def test_a_callers_words_are_no_label(owner: Caller) -> None:
    """Paths, methods and names have no end; a series for each would be a way to fill memory."""
    await owner.call("GET", "/api/vms/xyzzy")
    await owner.call("GET", "/xyzzy/xyzzy")
    await owner.call("XYZZY", "/api/vms")
    answer = await owner.call("GET", "/metrics")
    assert "xyzzy" not in answer.text.lower()


async def test_a_key_of_an_administrator_is_needed(other: Caller, nobody: Caller) -> None:
    await other.refused("GET", "/metrics", status=403, code="forbidden")
    await nobody.refused("GET", "/metrics", status=401, code="unauthenticated")


async def status_from(app: ASGIApp, host: str, path: str = "/metrics") -> int:
    transport = httpx.ASGITransport(app, client=(host, 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://pool") as client:
        return (await client.get(path)).status_code


async def test_open_on_loopback(services: Services) -> None:
    app = create_app(replace(services, open_metrics=True))
    assert await status_from(app, "127.0.0.1") == 200
    assert await status_from(app, "::1") == 200
    assert await status_from(app, "192.0.2.1") == 401
    assert await status_from(app, "127.0.0.1", "/api/vms") == 401
    assert await status_from(create_app(services), "127.0.0.1") == 401
