"""Executing code goes past the framework or through it: nobody can tell from the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from vmpool.api.services import Services
from vmpool.api.shortcut import ExecuteShortcut
from vmpool.settings import Settings

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}
CODE = b'{"code": "print(1+1)"}'
REQUESTS: dict[str, tuple[dict[str, str], bytes]] = {
    "well-formed": (JSON, CODE),
    "a charset": ({"Content-Type": "application/json; charset=utf-8"}, CODE),
    "upper case": ({"Content-Type": "Application/JSON"}, CODE),
    "a command": (JSON, b'{"command": "echo hi", "env": {"A": "b"}, "timeout": 5}'),
    "no content type": ({}, CODE),
    "a form": ({"Content-Type": "application/x-www-form-urlencoded"}, b"code=1"),
    "json of a kind": ({"Content-Type": "application/problem+json"}, CODE),
    "no body": (JSON, b""),
    "no json": (JSON, b"{"),
    "not an object": (JSON, b"[1]"),
    "nothing to run": (JSON, b"{}"),
    "both": (JSON, b'{"code": "1", "command": "1"}'),
    "an unknown field": (JSON, b'{"code": "1", "cpu": 1}'),
    "a wrong type": (JSON, b'{"code": 1}'),
    "no utf-8": (JSON, b'{"code": "\xff"}'),
    "half a character": (JSON, b'{"code": "\\ud800"}'),
    "an unknown language": (JSON, b'{"code": "1", "language": "cobol"}'),
    "too long a time": (JSON, b'{"code": "1", "timeout": 1e9}'),
    "not a number": (JSON, b'{"code": "1", "timeout": NaN}'),
    "an empty key": ({**JSON, "Idempotency-Key": ""}, CODE),
    "the longest key": ({**JSON, "Idempotency-Key": "k" * 255}, CODE),
    "too long a key": ({**JSON, "Idempotency-Key": "k" * 256}, CODE),
}
VARIES = {"id", "executed_at", "execution_time", "cpu_time", "max_memory", "request_id"}


@pytest.fixture
async def both(app: ExecuteShortcut, settings: Settings) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of the whole application, and one of what is behind the shortcut."""
    key = (settings.state_dir / "owner.key").read_text().strip()
    clients = [
        httpx.AsyncClient(
            transport=httpx.ASGITransport(target),
            base_url="http://pool",
            headers={"Authorization": f"Bearer {key}"},
        )
        for target in (app, app._app)
    ]
    yield clients
    for client in clients:
        await client.aclose()


def seen(answer: httpx.Response) -> tuple[int, Any, set[str]]:
    """What a client can tell, without what differs between any two executions."""
    body = {name: value for name, value in answer.json().items() if name not in VARIES}
    return answer.status_code, body, set(answer.headers)


@pytest.mark.parametrize("name", REQUESTS)
async def test_the_answer_is_the_same_both_ways(
    both: list[httpx.AsyncClient], services: Services, name: str
) -> None:
    headers, body = REQUESTS[name]
    made = await both[0].post("/api/vms/create", json={"name": "box", "language": "python"})
    assert made.status_code == 201
    answers = []
    for number, client in enumerate(both):
        own = dict(headers)
        if own.get("Idempotency-Key"):
            own["Idempotency-Key"] = own["Idempotency-Key"][:-1] + str(number)
        answers.append(seen(await client.post("/api/vms/box/execute", content=body, headers=own)))
    assert answers[0] == answers[1]


async def test_a_body_in_pieces_and_a_key_that_is_missing(both: list[httpx.AsyncClient]) -> None:
    await both[0].post("/api/vms/create", json={"name": "box", "language": "python"})

    async def pieces() -> AsyncIterator[bytes]:
        for position in range(0, len(CODE), 3):
            yield CODE[position : position + 3]

    whole = [await client.post("/api/vms/box/execute", content=pieces(), headers=JSON) for client in both]
    assert seen(whole[0]) == seen(whole[1])
    assert whole[0].json()["output"] == "2\n"
    for client in both:
        del client.headers["Authorization"]
    refused = [await client.post("/api/vms/box/execute", content=CODE, headers=JSON) for client in both]
    assert seen(refused[0]) == seen(refused[1])
    assert refused[0].status_code == 401
