"""Somebody who calls the API and looks closely at what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from vmpool.api.schemas import Problem


class Caller:
    """One API key's view of the server."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Any answer.  key: an Idempotency-Key."""
        sent = {**(headers or {}), **({"Idempotency-Key": key} if key else {})}
        return await self.client.request(method, path, json=body, headers=sent)

    async def ok(
        self, method: str, path: str, body: object = None, *, status: int = 200, key: str | None = None
    ) -> Any:
        """The JSON of an answer that must have this status."""
        answer = await self.call(method, path, body, key=key)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    async def refused(
        self, method: str, path: str, body: object = None, *, status: int, code: str, key: str | None = None
    ) -> Problem:
        """The problem of an answer that must be one, with this status and code."""
        answer = await self.call(method, path, body, key=key)
        return problem(answer, status, code)

    async def create(self, name: str = "box", **fields: object) -> Any:
        """A new VM."""
        body = {"name": name, "language": "python", **fields}
        return await self.ok("POST", "/api/vms/create", body, status=201)

    async def execute(self, vm: int | str, code: str = "print('hi')", **fields: object) -> Any:
        """What came of some code."""
        return await self.ok("POST", f"/api/vms/{vm}/execute", {"code": code, **fields})

    async def shell(self, vm: int | str, command: str, **fields: object) -> Any:
        """What came of a command."""
        return await self.ok("POST", f"/api/vms/{vm}/execute", {"command": command, **fields})


def problem(answer: httpx.Response, status: int, code: str) -> Problem:
    """The answer as the problem it must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(answer.content)
    assert (found.status, found.code) == (status, code), answer.text
    assert found.type == f"urn:vmpool:error:{code}"
    assert found.request_id == answer.headers["x-request-id"]
    return found
