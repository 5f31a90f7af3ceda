"""Collections: bare arrays, newest first, a page at a time."""

from __future__ import annotations

from typing import Any

import pytest

from .caller import Caller

pytestmark = pytest.mark.anyio


async def pages(owner: Caller, path: str) -> list[list[Any]]:
    """Every page, by the `Link` header."""
    found: list[list[Any]] = []
    url: str | None = path
    while url:
        answer = await owner.call("GET", url)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        url = answer.links.get("next", {}).get("url")
    return found


async def test_vms(owner: Caller) -> None:
    made = [(await owner.create(f"vm-{number}"))["id"] for number in range(5)]
    found = await pages(owner, "/api/vms?limit=2")
    assert [[vm["id"] for vm in page] for page in found] == [made[4:2:-1], made[2:0:-1], made[:1]]
    assert [vm["id"] for vm in await owner.ok("GET", "/api/vms")] == made[::-1]


async def test_executions(owner: Caller) -> None:
    await owner.create()
    made = [(await owner.execute("box", str(number)))["id"] for number in range(4)]
    found = await pages(owner, "/api/vms/box/executions?limit=3")
    assert [[entry["id"] for entry in page] for page in found] == [made[:0:-1], made[:1]]


async def test_snapshots(owner: Caller) -> None:
    await owner.create()
    made = [(await owner.ok("POST", "/api/vms/box/snapshot", status=201))["id"] for _ in range(3)]
    found = await pages(owner, "/api/vms/box/snapshots?limit=2")
    assert [[entry["id"] for entry in page] for page in found] == [made[:0:-1], made[:1]]


async def test_a_page_stays_right_while_items_go(owner: Caller) -> None:
    for number in range(4):
        await owner.create(f"vm-{number}")
    first = await owner.call("GET", "/api/vms?limit=2")
    await owner.ok("DELETE", "/api/vms/vm-3", status=204)
    await owner.ok("DELETE", "/api/vms/vm-2", status=204)
    rest = await owner.ok("GET", first.links["next"]["url"])
    assert [vm["name"] for vm in rest] == ["vm-1", "vm-0"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=-1", "cursor"),
        (f"cursor={10**30}", "cursor"),
    ],
)
async def test_a_bad_page_is_422(owner: Caller, query: str, field: str) -> None:
    refusal = await owner.refused("GET", f"/api/vms?{query}", status=422, code="invalid_request")
    assert refusal.errors
    assert refusal.errors[0].field == field
