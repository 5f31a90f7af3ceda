"""`spec/openapi.json` is what the server serves, and it documents every operation."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from vmpool.api.edge import OPEN_PATHS
from vmpool.api.server import openapi

COMMITTED = Path(__file__).parents[2] / "spec" / "openapi.json"

SPECIFIED = """
POST   /api/vms/create
GET    /api/vms
GET    /api/vms/{vm_id}
DELETE /api/vms/{vm_id}
POST   /api/vms/{vm_id}/start
POST   /api/vms/{vm_id}/stop
POST   /api/vms/{vm_id}/restart
POST   /api/vms/{vm_id}/execute
GET    /api/vms/{vm_id}/status
GET    /api/vms/{vm_id}/logs
POST   /api/vms/{vm_id}/snapshot
POST   /api/vms/{vm_id}/restore
POST   /api/vms/batch-execute
GET    /api/vms/pool-status
"""


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in openapi()["paths"].items()
        for method, operation in methods.items()
    }


def test_the_committed_document() -> None:
    """`VMPOOL_BLESS=1` rewrites it."""
    rendered = json.dumps(openapi(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if os.environ.get("VMPOOL_BLESS") == "1":
        COMMITTED.write_text(rendered)
    else:
        assert COMMITTED.read_text() == rendered


def test_the_specifications_fourteen_are_there() -> None:
    wanted = {tuple(line.split()) for line in SPECIFIED.split("\n") if line}
    assert len(wanted) == 14
    assert wanted <= operations().keys()


@pytest.mark.parametrize(("where", "operation"), list(operations().items()))
def test_an_operation_is_documented(where: tuple[str, str], operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"]
    assert operation["operationId"].isidentifier()
    assert any(status[0] in "12" for status in operation["responses"])
    if where[1] not in OPEN_PATHS:
        assert operation["security"]
        for family in ("4XX", "5XX"):
            assert "application/problem+json" in operation["responses"][family]["content"]


def test_operation_ids_are_distinct() -> None:
    ids = [operation["operationId"] for operation in operations().values()]
    assert len(ids) == len(set(ids))


def test_every_reference_resolves() -> None:
    document = openapi()
    references = {
        part.split('"')[0] for part in json.dumps(document).split('"$ref": "#/components/schemas/')[1:]
    }
    assert references <= document["components"]["schemas"].keys()
