"""Every operation of the OpenAPI document, asked about somebody else's things: as if they were not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vmpool.api.edge import OPEN_PATHS
from vmpool.api.server import openapi

from .caller import Caller, problem

pytestmark = pytest.mark.anyio

BODIES = {
    "create_vm": {"name": "x", "language": "python"},
    "batch_execute": {"code": "1"},
    "execute": {"code": "1"},
    "restore_vm": {"snapshot_id": 1},
    "create_user": {"name": "intruder"},
}


def operations() -> Iterator[tuple[str, str, str]]:
    for path, methods in openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation["operationId"]


KEYED = [entry for entry in operations() if entry[1] not in OPEN_PATHS]
ABOUT_A_VM = [entry for entry in KEYED if "{vm_id}" in entry[1]]


def test_there_are_such_operations() -> None:
    assert len(ABOUT_A_VM) >= 14


async def test_without_a_key_it_is_401(nobody: Caller) -> None:
    wrong = (None, "Bearer wrong", "Bearer", "Basic dXNlcjpwYXNz", "Bearer " + "x" * 4000, "vmp_bare")
    for method, path, operation in KEYED:
        concrete = path.format(vm_id="1", execution_id="1", snapshot_id="1", key_id="1")
        for header in wrong:
            headers = {"Authorization": header} if header else {}
            answer = await nobody.call(method, concrete, BODIES.get(operation), headers=headers)
            problem(answer, 401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("by", ["id", "name"])
async def test_a_foreign_vm_is_404(owner: Caller, other: Caller, by: str) -> None:
    vm = await owner.create("box")
    ran = await owner.execute("box")
    kept = await owner.ok("POST", "/api/vms/box/snapshot", status=201)
    before = await owner.ok("GET", "/api/vms/box")
    for method, path, operation in ABOUT_A_VM:
        concrete = path.format(vm_id=vm[by], execution_id=ran["id"], snapshot_id=kept["id"])
        body = {"snapshot_id": kept["id"]} if operation == "restore_vm" else BODIES.get(operation)
        await other.refused(method, concrete, body, status=404, code="vm_not_found")
        assert await owner.ok("GET", "/api/vms/box") == before
    assert await owner.ok("GET", "/api/vms/box/executions") == [ran]
    assert await owner.ok("GET", "/api/vms/box/snapshots") == [kept]


async def test_a_foreign_snapshot_cannot_be_restored_into_ones_own_vm(owner: Caller, other: Caller) -> None:
    await owner.create("box")
    kept = await owner.ok("POST", "/api/vms/box/snapshot", status=201)
    await other.create("mine")
    body = {"snapshot_id": kept["id"]}
    await other.refused("POST", "/api/vms/mine/restore", body, status=404, code="snapshot_not_found")


async def test_a_foreign_execution_is_404(owner: Caller, other: Caller) -> None:
    await owner.create("box")
    ran = await owner.execute("box")
    await other.create("mine")
    await other.refused(
        "GET", f"/api/vms/mine/executions/{ran['id']}", status=404, code="execution_not_found"
    )


async def test_lists_show_ones_own_only(owner: Caller, other: Caller) -> None:
    await owner.create("box")
    assert await other.ok("GET", "/api/vms") == []
    assert await other.ok("POST", "/api/vms/batch-execute", {"code": "1"}) == []


async def test_a_foreign_key_cannot_be_revoked(owner: Caller, other: Caller) -> None:
    mine = await owner.ok("GET", "/api/keys")
    await other.refused("DELETE", f"/api/keys/{mine[0]['id']}", status=404, code="key_not_found")
    assert await owner.ok("GET", "/api/keys") == mine


@pytest.mark.parametrize(("method", "path"), [("POST", "/api/users"), ("GET", "/api/users")])
async def test_users_are_for_administrators(other: Caller, method: str, path: str) -> None:
    body = {"name": "x"} if method == "POST" else None
    await other.refused(method, path, body, status=403, code="forbidden")
