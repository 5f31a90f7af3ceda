"""What every answer carries, whatever it is an answer to."""

from __future__ import annotations

import httpx
import pytest

from .caller import Caller
from .conftest import MAX_BODY
from .operations import Operation, operations

pytestmark = pytest.mark.anyio

IDS = dict.fromkeys(
    (
        *("vm_id", "execution_id", "snapshot_id", "context_id", "key_id", "user_id", "webhook_id"),
        *("template_id", "build_id"),
    ),
    2_000_000_000,
)
EXPECTED = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
"""Nothing this server answers is for a browser to show, run, frame or keep."""


def check(answer: httpx.Response) -> None:
    for name, value in EXPECTED.items():
        assert answer.headers.get_list(name) == [value], (answer.request.url, name)
    assert len(answer.headers.get_list("x-request-id")) == 1
    assert "strict-transport-security" not in answer.headers  # it came by plain HTTP
    assert "server" not in answer.headers
    kind = answer.headers.get("content-type", "").partition(";")[0]
    assert kind != "text/html"
    assert kind or not answer.content


@pytest.mark.parametrize("operation", list(operations()), ids=str)
async def test_every_operation(operation: Operation, owner: Caller, nobody: Caller) -> None:
    """Done or refused, with a key and without, with a body that is none."""
    path = operation.at(**IDS)
    check(await owner.call(operation.method, path, operation.example()))
    check(await nobody.call(operation.method, path))
    check(
        await owner.client.request(
            operation.method, path, content=b"{", headers={"Content-Type": "application/json"}
        )
    )
    check(await owner.client.request(operation.method, path, content=b"x" * (MAX_BODY + 1)))
    for method in ("OPTIONS", "TRACE", "HEAD", "PUT"):
        check(await owner.call(method, path))


async def test_success_and_streams(owner: Caller) -> None:
    await owner.create("box")
    check(await owner.call("POST", "/api/vms/box/execute", {"code": "print(1)"}))
    check(
        await owner.call(
            "POST", "/api/vms/batch-execute", {"code": "1"}, headers={"Accept": "text/event-stream"}
        )
    )
    check(await owner.call("GET", "/openapi.json"))
    check(await owner.call("GET", "/nowhere"))
    check(await owner.call("DELETE", "/api/vms/box"))
