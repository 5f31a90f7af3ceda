"""The lines of one request carry its ids, and nothing that is secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp

from vmpool import server_log
from vmpool.api.server import create_app
from vmpool.api.services import Services
from vmpool.errors import BackendFailed

from .caller import Caller

pytestmark = pytest.mark.anyio

SECRET = "xyzzy"


class Written:
    """What a server's log says, as its JSON lines."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self, **fields: object) -> list[dict[str, Any]]:
        """Those that have these fields."""
        found = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in found if fields.items() <= line.items()]


@pytest.fixture
def written() -> Iterator[Written]:
    found = Written()
    handler = logging.StreamHandler(found.stream)
    handler.setFormatter(server_log.JSONLines())
    logger = logging.getLogger("vmpool")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield found
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture
def app(services: Services) -> ASGIApp:
    return create_app(services, access_log=True)


async def test_the_lines_of_one_request(owner: Caller, other: Caller, written: Written) -> None:
    headers = {"X-Request-ID": "make-1"}
    body = {"name": "box", "language": "python", "env": {"TOKEN": f"{SECRET}-env"}}
    made = await owner.call("POST", "/api/vms/create", body, headers=headers)
    assert made.headers["x-request-id"] == "make-1"
    vm_id = made.json()["id"]
    lines = written.lines(request_id="make-1")
    assert {"vmpool.pool.lifecycle", "vmpool.access"} <= {line["logger"] for line in lines}
    assert len({line["user_id"] for line in lines}) == 1
    [runs] = written.lines(logger="vmpool.pool.lifecycle", request_id="make-1")
    assert runs["vm_id"] == vm_id
    [access] = written.lines(logger="vmpool.access", request_id="make-1")
    assert access["message"].startswith("POST /api/vms/create 201 in ")

    run = {"code": f"print('{SECRET}-code')", "stdin": f"{SECRET}-stdin", "env": {"A": f"{SECRET}-env"}}
    await owner.call("POST", "/api/vms/box/execute?token=xyzzy", run, headers={"X-Request-ID": "run-1"})
    await other.call("GET", f"/api/vms/{vm_id}", headers={"X-Request-ID": "other-1"})
    assert written.lines(request_id="run-1")
    for line in written.lines(request_id="other-1"):
        assert line.get("vm_id") is None
        assert line["user_id"] != runs["user_id"]

    assert SECRET not in written.text
    for caller in (owner, other):
        assert caller.client.headers["authorization"].removeprefix("Bearer ") not in written.text


async def test_a_failing_execution_names_itself(
    owner: Caller, services: Services, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = await owner.create()

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("vmpool.pool.executions.Executions._follow", broken)
    await owner.call("POST", "/api/vms/box/execute", {"code": "1"}, headers={"X-Request-ID": "run-2"})
    [line] = written.lines(logger="vmpool.pool.executions", request_id="run-2")
    assert line["vm_id"] == box["id"]
    assert line["execution_id"] >= 1
    assert "a defect" in line["traceback"]


async def test_a_task_that_stays_is_of_no_request(
    owner: Caller, services: Services, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection to an agent is opened for the first request, and serves all that follow."""
    backend = services.pool._backend
    first = backend.dial

    async def dial(key: Any) -> Any:
        logging.getLogger("vmpool.test").info("dialled")
        return await first(key)

    monkeypatch.setattr(backend, "dial", dial)
    box = await owner.call(
        "POST", "/api/vms/create", {"name": "box", "language": "python"}, headers={"X-Request-ID": "first"}
    )
    await owner.call("POST", f"/api/vms/{box.json()['id']}/execute", {"code": "1"})
    dialled = written.lines(logger="vmpool.test")  # a VM that waits in the warm pool may be among them
    assert not [line for line in dialled if "request_id" in line]
    assert [line["vm_id"] for line in dialled if "vm_id" in line] == [box.json()["id"]]


async def test_a_path_cannot_write_a_line_of_its_own(owner: Caller, written: Written) -> None:
    await owner.client.get("/api/vms/a%0Aforged?key=xyzzy")
    [line] = written.lines(logger="vmpool.access")
    assert "\n" not in line["message"]
    assert "xyzzy" not in line["message"]


async def test_a_failed_create_says_whose(owner: Caller, services: Services, written: Written) -> None:
    async def fails(*_: object) -> None:
        raise BackendFailed("no room")

    services.pool._backend.create = fails  # type: ignore[method-assign, assignment]
    answer: httpx.Response = await owner.call(
        "POST", "/api/vms/create", {"name": "box", "language": "python"}, headers={"X-Request-ID": "make-2"}
    )
    assert answer.status_code == 502
    assert {"vm_id", "user_id"} <= written.lines(request_id="make-2", logger="vmpool.access")[0].keys()


def test_lines_for_people_end_with_the_ids() -> None:
    record = logging.LogRecord("vmpool.x", logging.INFO, "", 0, "said", (), None)
    assert server_log.Lines().format(record).endswith("vmpool.x: said")
