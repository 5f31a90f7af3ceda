"""The life of VMs over HTTP: every verb and every refusal the specification names."""

from __future__ import annotations

from datetime import datetime

import pytest

from .caller import Caller, problem

pytestmark = pytest.mark.anyio

SPECIFIED = (
    "id user_id name status language container_id cpu_limit memory_limit disk_limit created_at started_at"
    " stopped_at backend isolation warnings"
).split()


async def test_create_answers_the_vm(owner: Caller) -> None:
    body = {
        "name": "test-vm",
        "language": "py",
        "cpu_limit": 0.5,
        "memory_limit": 256,
        "disk_limit": 100,
        "env": {"TOKEN": "hidden"},
        "ttl": 60,
        "idle_timeout": 30,
        "idle_pause": 20,
        "labels": {"team": "red"},
    }
    vm = await owner.ok("POST", "/api/vms/create", body, status=201)
    assert set(SPECIFIED) <= vm.keys()
    assert vm["name"] == "test-vm"
    assert vm["status"] == "running"
    assert vm["language"] == "python"
    assert (vm["cpu_limit"], vm["memory_limit"], vm["disk_limit"]) == (0.5, 256, 100)
    assert (vm["backend"], vm["ttl"], vm["idle_timeout"], vm["idle_pause"]) == ("fake", 60, 30, 20)
    assert vm["labels"] == {"team": "red"}
    assert vm["env_names"] == ["TOKEN"]
    assert "hidden" not in str(vm)
    created, expires = (datetime.fromisoformat(vm[name]) for name in ("created_at", "expires_at"))
    assert vm["created_at"].endswith("Z")
    assert (expires - created).total_seconds() == 60


async def test_defaults_are_the_specifications(owner: Caller) -> None:
    vm = await owner.create()
    assert (vm["cpu_limit"], vm["memory_limit"], vm["disk_limit"]) == (1.0, 512, 1024)


async def test_limits_change(owner: Caller) -> None:
    await owner.create("box")
    changed = await owner.ok("PATCH", "/api/vms/box", {"cpu_limit": 0.5, "process_limit": 64})
    assert (changed["cpu_limit"], changed["memory_limit"], changed["process_limit"]) == (0.5, 512, 64)
    assert await owner.ok("GET", "/api/vms/box") == changed
    for body in ({"memory_limit": 1}, {"memory_limit": "much"}, {"name": "other"}):
        await owner.refused("PATCH", "/api/vms/box", body, status=422, code="invalid_request")
    await owner.refused("PATCH", "/api/vms/box", {"disk_limit": 100}, status=422, code="unsupported")
    assert await owner.ok("GET", "/api/vms/box") == changed
    assert (await owner.ok("PATCH", "/api/vms/box", {"disk_limit": 2000}))["disk_limit"] == 2000


async def test_an_id_and_a_name_name_the_same_vm(owner: Caller) -> None:
    vm = await owner.create("box")
    assert await owner.ok("GET", "/api/vms/box") == await owner.ok("GET", f"/api/vms/{vm['id']}")


async def test_stop_start_restart_delete(owner: Caller) -> None:
    vm = await owner.create("box")
    stopped = await owner.ok("POST", "/api/vms/box/stop")
    assert stopped["status"] == "stopped"
    assert stopped["stopped_at"]
    refusal = await owner.refused(
        "POST", "/api/vms/box/execute", {"code": "1"}, status=409, code="vm_not_running"
    )
    assert not refusal.retryable
    assert (await owner.ok("POST", "/api/vms/box/start"))["status"] == "running"
    assert (await owner.ok("POST", "/api/vms/box/restart"))["status"] == "running"
    answer = await owner.call("DELETE", f"/api/vms/{vm['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    await owner.refused("GET", f"/api/vms/{vm['id']}", status=404, code="vm_not_found")
    await owner.refused("DELETE", "/api/vms/box", status=404, code="vm_not_found")


async def test_the_eleventh_vm_is_429(owner: Caller) -> None:
    for number in range(10):
        await owner.create(f"vm-{number}")
    answer = await owner.call("POST", "/api/vms/create", {"name": "more", "language": "python"})
    refusal = problem(answer, 429, "quota_exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    assert refusal.retryable
    assert refusal.context["limit"] == 10
    await owner.ok("DELETE", "/api/vms/vm-3", status=204)
    await owner.create("more")


async def test_a_full_pool_is_503(owner: Caller, other: Caller) -> None:
    for number in range(10):
        await owner.create(f"vm-{number}")
    await other.create("a")
    await other.create("b")
    answer = await other.call("POST", "/api/vms/create", {"name": "c", "language": "python"})
    refusal = problem(answer, 503, "pool_full")
    assert int(answer.headers["retry-after"]) >= 1
    assert refusal.context["rule"] == "total_vms"


async def test_a_taken_name_is_409(owner: Caller, other: Caller) -> None:
    await owner.create("box")
    await owner.refused(
        "POST", "/api/vms/create", {"name": "box", "language": "python"}, status=409, code="name_taken"
    )
    await other.create("box")  # names are one's own


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Upper"}, "name"),
        ({"name": "123"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 64}, "name"),
        ({"name": None}, "name"),
        ({"language": "cobol"}, "language"),
        ({"cpu_limit": 0}, "cpu_limit"),
        ({"cpu_limit": 1e9}, "cpu_limit"),
        ({"cpu_limit": "much"}, "cpu_limit"),
        ({"memory_limit": -1}, "memory_limit"),
        ({"memory_limit": 10**30}, "memory_limit"),
        ({"disk_limit": 1 << 20}, "disk_limit"),
        ({"env": {"A=B": "c"}}, "env.A=B"),
        ({"env": {"A": "b\0c"}}, "env.A"),
        ({"env": {"A": 1}}, "env.A"),
        ({"network": "host"}, "network"),
        ({"ttl": 0}, "ttl"),
        ({"ttl": 10**30}, "ttl"),
        ({"idle_timeout": -5}, "idle_timeout"),
        ({"labels": {"": "x"}}, "labels"),
        ({"cpus": 2}, "cpus"),
    ],
)
async def test_a_bad_field_is_422_and_named(owner: Caller, change: dict[str, object], field: str) -> None:
    body = {"name": "box", "language": "python", **change}
    refusal = await owner.refused("POST", "/api/vms/create", body, status=422, code="invalid_request")
    assert refusal.errors
    assert refusal.errors[0].field.startswith(field)
    assert field.split(".")[0] in refusal.detail
    assert await owner.ok("GET", "/api/vms") == []


async def test_an_unknown_template_is_404(owner: Caller) -> None:
    body = {"name": "box", "language": "python", "template": "none-such"}
    await owner.refused("POST", "/api/vms/create", body, status=404, code="template_not_found")


async def test_a_network_the_backend_has_not_is_422(owner: Caller) -> None:
    body = {"name": "box", "language": "python", "network": "full"}
    await owner.refused("POST", "/api/vms/create", body, status=422, code="unsupported")


async def test_hard_limits_demanded_of_a_host_without_are_422(owner: Caller) -> None:
    body = {"name": "box", "language": "python", "strict_limits": True}
    refused = await owner.refused("POST", "/api/vms/create", body, status=422, code="limits_not_hard")
    assert refused.context["soft"] == "cpu, memory, disk, processes"
    soft = (await owner.ok("GET", "/api/vms/pool-status"))["backend"]["soft_limits"]
    assert soft == {"none": ["cpu", "memory", "disk", "processes"]}


async def test_an_isolation_the_host_has_not_is_422(owner: Caller) -> None:
    body = {"name": "box", "language": "python", "isolation": "gvisor"}
    refused = await owner.refused("POST", "/api/vms/create", body, status=422, code="isolation_unavailable")
    assert refused.context["offered"] == "none"
    assert "vm doctor" in refused.detail
    body["isolation"] = "steel"
    await owner.refused("POST", "/api/vms/create", body, status=422, code="invalid_request")
    assert (await owner.ok("GET", "/api/vms/pool-status"))["backend"]["isolations"] == ["none"]
    assert await owner.ok("GET", "/api/vms") == []


@pytest.mark.parametrize("reference", ["0", "99", "1" * 40, "-1", "none-such", "%00", "x" * 63, "٣"])
async def test_an_unknown_vm_is_404(owner: Caller, reference: str) -> None:
    await owner.refused("GET", f"/api/vms/{reference}/status", status=404, code="vm_not_found")


async def test_status_has_live_figures(owner: Caller) -> None:
    vm = await owner.create("box")
    status = await owner.ok("GET", "/api/vms/box/status")
    assert (status["id"], status["status"], status["memory_limit"]) == (vm["id"], "running", 512)
    assert status["uptime"] >= 0
    assert status["executions"] == 0
    assert {"cpu_percent", "cpu_seconds", "memory_bytes", "disk_bytes", "processes"} <= status.keys()


async def test_pool_status(owner: Caller, other: Caller) -> None:
    await owner.create("a", cpu_limit=0.5, memory_limit=100)
    await other.create("b", memory_limit=200)
    status = await owner.ok("GET", "/api/vms/pool-status")
    assert status["limits"]["max_vms_per_user"] == 10
    assert status["limits"]["max_total_vms"] == 12
    assert status["limits"]["max_execution_time"] == 600
    assert (status["use"]["vms"], status["use"]["total_vms"]) == (1, 2)
    assert (status["use"]["cpu"], status["use"]["memory"]) == (1.5, 300)
    assert status["states"] == {"running": 2}
    assert status["backend"]["name"] == "fake"
    assert status["backend"]["reason"] == "chosen by the settings"
    assert set(status["backend"]["enforcement"]) >= {"cpu", "memory", "disk", "processes"}
    assert "python" in status["backend"]["templates"]
    assert status["host"]["cpus"] >= 1
    assert status["host"]["memory_bytes"] > 0


async def test_snapshot_and_restore(owner: Caller) -> None:
    vm = await owner.create("box")
    await owner.shell("box", "echo before > note")
    kept = await owner.ok("POST", "/api/vms/box/snapshot", {"name": "first"}, status=201)
    assert kept.keys() >= {"id", "vm_id", "name", "size", "created_at"}
    assert (kept["vm_id"], kept["name"]) == (vm["id"], "first")
    await owner.shell("box", "echo after > note")
    restored = await owner.ok("POST", "/api/vms/box/restore", {"snapshot_id": kept["id"]})
    assert (restored["id"], restored["status"]) == (vm["id"], "running")
    assert (await owner.shell("box", "cat note"))["output"] == "before\n"
    unnamed = await owner.ok("POST", "/api/vms/box/snapshot", status=201)
    assert [entry["id"] for entry in await owner.ok("GET", "/api/vms/box/snapshots")] == [
        unnamed["id"],
        kept["id"],
    ]
    await owner.ok("DELETE", f"/api/vms/box/snapshots/{kept['id']}", status=204)
    await owner.refused(
        "POST",
        "/api/vms/box/restore",
        {"snapshot_id": kept["id"]},
        status=404,
        code="snapshot_not_found",
    )


@pytest.mark.parametrize("body", [{}, {"snapshot_id": "x"}, {"snapshot_id": 1, "more": 2}])
async def test_a_bad_restore_is_422(owner: Caller, body: object) -> None:
    await owner.create("box")
    await owner.refused("POST", "/api/vms/box/restore", body, status=422, code="invalid_request")


async def test_a_huge_snapshot_id_is_404(owner: Caller) -> None:
    await owner.create("box")
    body = {"snapshot_id": 2**63 - 1}
    await owner.refused("POST", "/api/vms/box/restore", body, status=404, code="snapshot_not_found")
