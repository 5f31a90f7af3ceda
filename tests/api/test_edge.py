"""What holds for every request: ids, headers, sizes, unknown paths, and failures nobody foresaw."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from vmpool import __version__
from vmpool.api.services import Services
from vmpool.errors import BackendUnreachable

from .caller import Caller, problem
from .conftest import MAX_BODY

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


async def test_health_needs_no_key(nobody: Caller) -> None:
    assert await nobody.ok("GET", "/health") == {"status": "ok", "version": __version__}


async def test_ready(nobody: Caller) -> None:
    assert await nobody.ok("GET", "/ready") == {"ready": True, "checks": {"database": "ok", "backend": "ok"}}


async def test_not_ready(nobody: Caller, services: Services) -> None:
    async def gone() -> None:
        raise BackendUnreachable("the engine is gone")

    probes = services.probes
    assert isinstance(probes, dict)
    probes["backend"] = gone
    found = await nobody.ok("GET", "/ready", status=503)
    assert found == {"ready": False, "checks": {"database": "ok", "backend": "the engine is gone"}}


async def test_a_server_that_ends_is_alive_and_not_ready(nobody: Caller, services: Services) -> None:
    services.closing.set()
    assert (await nobody.call("GET", "/health")).status_code == 200
    found = await nobody.ok("GET", "/ready", status=503)
    assert found["ready"] is False
    assert "is ending" in found["checks"]["server"]


async def test_the_openapi_document_needs_no_key(nobody: Caller) -> None:
    assert (await nobody.ok("GET", "/openapi.json"))["info"]["title"] == "vmpool"


async def test_request_ids(owner: Caller) -> None:
    given = await owner.call("GET", "/api/vms", headers={"X-Request-ID": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    for harmful in ("a b", "x" * 65, "{}", "a;b"):
        answer = await owner.call("GET", "/api/vms", headers={"X-Request-ID": harmful})
        assert answer.headers["x-request-id"] not in ("", harmful)


async def test_security_headers(owner: Caller, nobody: Caller) -> None:
    for answer in (await owner.call("GET", "/api/vms"), await nobody.call("GET", "/api/vms")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_unknown_paths_and_methods(owner: Caller) -> None:
    problem(await owner.call("GET", "/api/nothing"), 404, "not_found")
    problem(await owner.call("GET", "/docs"), 404, "not_found")
    refused = await owner.call("PUT", "/api/vms/box")
    problem(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "DELETE, GET, PATCH"


async def test_too_long_a_body_is_413(owner: Caller, nobody: Caller) -> None:
    await owner.create()
    long = b'{"code": "' + b"1" * MAX_BODY + b'"}'
    problem(
        await owner.client.post("/api/vms/box/execute", content=long, headers=JSON), 413, "request_too_large"
    )

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(long), 1000):
            yield long[start : start + 1000]

    answer = await owner.client.post("/api/vms/box/execute", content=in_pieces(), headers=JSON)
    problem(answer, 413, "request_too_large")
    # Who has no key is told so first, whatever they send.
    refused = await nobody.client.post("/api/vms/box/execute", content=long, headers=JSON)
    problem(refused, 401, "unauthenticated")


async def test_a_body_without_a_type_is_422(owner: Caller) -> None:
    await owner.create()
    answer = await owner.client.post(
        "/api/vms/box/execute", content=b'{"code": "1"}', headers={"Content-Type": "text/plain"}
    )
    problem(answer, 422, "invalid_request")


async def test_what_nobody_foresaw_is_500_and_in_the_log(
    owner: Caller,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr(services.pool, "list_vms", broken)
    answer: httpx.Response = await owner.call("GET", "/api/vms")
    found = problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert found.request_id in caplog.text
    assert "a secret of ours" in caplog.text


async def test_no_secret_in_the_log(owner: Caller, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        await owner.create(env={"TOKEN": "xyzzy-in-env"})
        await owner.execute("box", "print('xyzzy-in-code')")
        await owner.call("GET", "/api/nothing")
    assert "xyzzy" not in caplog.text
    assert owner.client.headers["authorization"].removeprefix("Bearer ") not in caplog.text
