"""VMs that wait for somebody, as the API shows them: as figures, and never as VMs."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from .caller import Caller

pytestmark = pytest.mark.anyio


async def figures(owner: Caller) -> dict[str, Any]:
    found: dict[str, Any] = (await owner.ok("GET", "/api/vms/pool-status"))["warm_pool"]
    return found


async def until_ready(owner: Caller, count: int) -> dict[str, Any]:
    with anyio.fail_after(10):
        while True:
            found = await figures(owner)
            if found["ready"] == {"python": count} and not found["making"]:
                return found
            await anyio.sleep(0.02)


async def test_before_the_first_create(owner: Caller) -> None:
    assert await figures(owner) == {
        "enabled": True,
        "reason": "",
        "ready": {},
        "wanted": {},
        "making": 0,
        "hits": 0,
        "misses": {"dry": 0, "unsuitable": 0, "failed": 0},
        "hit_rate": None,
        "made": 0,
        "dropped": 0,
        "failed": 0,
    }


async def test_hits_and_misses_are_counted(owner: Caller) -> None:
    await owner.create("first")
    found = await until_ready(owner, 1)
    assert (found["hits"], found["misses"]["dry"], found["hit_rate"], found["wanted"]) == (
        0,
        1,
        0.0,
        {"python": 1},
    )
    vm = await owner.create("second", memory_limit=100, labels={"a": "b"}, env={"A": "b"})
    assert (vm["memory_limit"], vm["labels"], vm["env_names"]) == (100, {"a": "b"}, ["A"])
    assert (await owner.shell("second", "hostname; echo $A"))["output"] == "second\nb\n"
    found = await until_ready(owner, 2)
    assert (found["hits"], found["hit_rate"], found["made"]) == (1, 0.5, 3)


async def test_a_waiting_vm_is_no_vm(owner: Caller) -> None:
    await owner.create("box")
    await until_ready(owner, 1)
    assert [vm["name"] for vm in await owner.ok("GET", "/api/vms")] == ["box"]
    for reference in ("0", "vm", "vm-0-1"):
        await owner.refused("GET", f"/api/vms/{reference}", status=404, code="vm_not_found")
        await owner.refused(
            "POST", f"/api/vms/{reference}/execute", {"code": "1"}, status=404, code="vm_not_found"
        )
    status = await owner.ok("GET", "/api/vms/pool-status")
    assert (status["use"]["total_vms"], status["use"]["memory"]) == (1, 512)


async def test_the_last_vm_the_pool_allows_is_made_although_others_wait(owner: Caller) -> None:
    """Twelve VMs may be there: ten of one user, and waiting ones leave for them."""
    for number in range(10):
        await owner.create(f"vm-{number}")
    found = await figures(owner)
    assert found["hits"] + found["misses"]["dry"] == 10
    await until_ready(owner, 2)
    await anyio.sleep(0.3)
    assert (await figures(owner))["ready"] == {"python": 2}
