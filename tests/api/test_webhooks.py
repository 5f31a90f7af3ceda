"""Webhooks over HTTP; what is sent, and where, is in tests/unit/pool/test_webhooks.py."""

from __future__ import annotations

import pytest

from .caller import Caller

pytestmark = pytest.mark.anyio
WEBHOOKS = "/api/webhooks"
URL = "https://example.org/hook"


async def test_a_webhook_from_its_making_to_its_end(owner: Caller, other: Caller) -> None:
    made = await owner.ok("POST", WEBHOOKS, {"url": URL, "types": ["snapshot"]}, status=201)
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and len(secret) > 40
    one = f"{WEBHOOKS}/{made['id']}"
    assert (made["url"], made["types"], made["enabled"]) == (URL, ["snapshot"], True)
    assert await owner.ok("GET", WEBHOOKS) == [made] == [await owner.ok("GET", one)]
    changed = await owner.ok("PATCH", one, {"types": [], "enabled": False})
    assert (changed["types"], changed["enabled"]) == ([], False) and changed["disabled_because"]
    await owner.refused("POST", f"{one}/test", status=409, code="conflict")
    assert (await owner.ok("PATCH", one, {"enabled": True}))["disabled_because"] is None
    rotated = await owner.ok("POST", f"{one}/rotate")
    assert rotated["secret"] not in (secret, "")
    assert await owner.ok("GET", f"{one}/deliveries") == []
    assert await other.ok("GET", WEBHOOKS) == []
    await other.refused("DELETE", one, status=404, code="webhook_not_found")
    await owner.ok("DELETE", one, status=204)
    await owner.refused("GET", one, status=404, code="webhook_not_found")
    audit = await owner.ok("GET", "/api/audit?action=create_webhook")
    assert audit[0]["target"] == f"webhook_id={made['id']}"
    assert secret not in str(await owner.ok("GET", "/api/audit"))


@pytest.mark.parametrize(
    "body",
    [
        {"url": "http://127.0.0.1/"},
        {"url": "http://[::1]/"},
        {"url": "ftp://example.org"},
        {"url": URL, "types": ["nonsense"]},
        {"url": URL, "types": ["vm"] * 100},
        {"url": URL, "secret": "mine"},
        {"url": "x" * 3000},
        {},
    ],
    ids=str,
)
async def test_what_is_wrong_is_422(owner: Caller, body: object) -> None:
    await owner.refused("POST", WEBHOOKS, body, status=422, code="invalid_request")


async def test_there_is_an_end_to_them(owner: Caller) -> None:
    for _ in range(10):
        await owner.ok("POST", WEBHOOKS, {"url": URL, "types": ["snapshot"]}, status=201)
    problem = await owner.refused("POST", WEBHOOKS, {"url": URL}, status=409, code="too_many_webhooks")
    assert "delete one" in problem.detail
