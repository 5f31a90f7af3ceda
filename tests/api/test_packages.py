"""Packages over HTTP: what is refused before anything is done, and how an install is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from vmpool.settings import Packages, Settings

from .caller import Caller

pytestmark = pytest.mark.anyio

EXECUTE = "/api/vms/box/execute"
ASKED = {"packages": ["requests"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"packages": ["requests"], "code": "1"}, "code"),
        ({"packages": ["requests"], "command": "ls"}, "code"),
        ({"packages": []}, "code"),
        ({"packages": ["--index-url=http://x"]}, "packages.0"),
        ({"packages": ["fine", "git+https://x/y"]}, "packages.1"),
        ({"packages": ["x"] * 101}, "packages"),
        ({"packages": ["x" * 201]}, "packages.0"),
        ({"packages": "requests"}, "packages"),
        ({"packages": ["requests"], "manager": "brew"}, "manager"),
        ({"code": "1", "manager": "pip"}, "manager"),
    ],
)
async def test_a_wrong_request_names_its_field(owner: Caller, body: dict[str, Any], field: str) -> None:
    await owner.create()
    refusal = await owner.refused("POST", EXECUTE, body, status=422, code="invalid_request")
    assert refusal.errors
    assert refusal.errors[0].field == field
    assert await owner.ok("GET", "/api/vms/box/executions") == []


async def test_a_language_without_a_package_manager_has_it_named(owner: Caller) -> None:
    await owner.create(language="bash")
    refusal = await owner.refused("POST", EXECUTE, ASKED, status=422, code="invalid_request")
    assert "name one of pip, npm" in str(refusal.detail)


async def test_an_install_is_an_execution(owner: Caller) -> None:
    """The fake runs no package manager: what is seen is that it is one that failed, with all it has."""
    await owner.create()
    result = await owner.ok("POST", EXECUTE, {"packages": ["requests", "attrs>=23"]})
    assert result["code"] == "python3 -m pip install -- requests 'attrs>=23'"
    assert result["exit_code"] != 0
    listed = await owner.ok("GET", "/api/vms/box/executions")
    assert [one["id"] for one in listed] == [result["id"]]


async def test_a_vm_whose_packages_cannot_be_installed_is_not_made(owner: Caller) -> None:
    body = {"name": "box", "language": "python", "packages": ["requests"]}
    refusal = await owner.refused("POST", "/api/vms/create", body, status=422, code="invalid_request")
    assert "could not be installed" in str(refusal.detail)
    assert await owner.ok("GET", "/api/vms") == []
    assert await owner.create()


async def test_a_batch_installs_in_many_vms(owner: Caller) -> None:
    vms = [(await owner.create(name))["id"] for name in ("one", "two")]
    items = await owner.ok("POST", "/api/vms/batch-execute", ASKED)
    assert {item["vm_id"] for item in items} == set(vms)
    assert {item["code"] for item in items} == {"python3 -m pip install -- requests"}


class TestWithoutPackages:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"packages": Packages(enabled=False)})

    async def test_they_are_refused(self, owner: Caller) -> None:
        await owner.create()
        refusal = await owner.refused("POST", EXECUTE, ASKED, status=422, code="invalid_request")
        assert "packages.enabled" in str(refusal.detail)
