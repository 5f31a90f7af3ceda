"""What one user may have in flight of bodies: past it 429, and nobody else's are in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message

from vmpool.api.bodies import SHORT, Bodies
from vmpool.errors import RateLimited
from vmpool.settings import Listen, RateSettings, Settings

from .caller import Caller, problem

pytestmark = pytest.mark.anyio

LONGEST = 4 * SHORT
JSON = {"Content-Type": "application/json"}
BODY = b'{"code": "print(1)", "stdin": "' + b"x" * (LONGEST - 100) + b'"}'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        backend="fake",
        listen=Listen(port=0, max_body=LONGEST, max_bodies=2 * LONGEST, drain=5),
        rates=RateSettings(failures=0),
    )


class Upload:
    """A body whose last byte comes when it may.  announced: whether its length goes ahead."""

    def __init__(self, announced: bool) -> None:
        self.headers = {**JSON, "Content-Length": str(len(BODY))} if announced else JSON
        self.begun, self.may_end = anyio.Event(), anyio.Event()
        self.answer: httpx.Response | None = None

    async def content(self) -> AsyncIterator[bytes]:
        for start in range(0, len(BODY) - 1, 10_000):
            yield BODY[start : min(start + 10_000, len(BODY) - 1)]
        self.begun.set()
        await self.may_end.wait()
        yield BODY[-1:]

    async def send(self, caller: Caller, path: str) -> None:
        self.answer = await caller.client.post(path, content=self.content(), headers=self.headers)


def refused(answer: httpx.Response) -> None:
    assert problem(answer, 429, "rate_limited").retryable
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("path", ["/api/vms/box/execute", "/api/vms/batch-execute", "/api/vms/create"])
async def test_too_much_of_one_user_is_429_until_some_is_answered(
    announced: bool, path: str, owner: Caller, other: Caller
) -> None:
    await owner.create()
    await other.create()
    uploads = [Upload(announced), Upload(announced)]
    async with anyio.create_task_group() as tasks:
        for upload in uploads:
            tasks.start_soon(upload.send, owner, "/api/vms/box/execute")
        for upload in uploads:
            await upload.begun.wait()
        third = Upload(announced)
        third.may_end.set()
        await third.send(owner, path)
        assert third.answer is not None
        refused(third.answer)
        assert (await owner.execute("box"))["output"] == "hi\n"  # a short one is never in the way
        assert (
            await other.client.post("/api/vms/box/execute", content=BODY, headers=JSON)
        ).status_code == 200
        for upload in uploads:
            upload.may_end.set()
    assert [upload.answer.status_code for upload in uploads if upload.answer] == [200, 200]
    for _ in range(3):
        again = await owner.client.post("/api/vms/box/execute", content=BODY, headers=JSON)
        assert again.status_code == 200, again.text


async def test_a_body_is_counted_once_whichever_way_it_goes(owner: Caller) -> None:
    """The way of executions hands on what it cannot serve; the second of two is then still let in."""
    await owner.create()
    upload = Upload(announced=True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upload.send, owner, "/api/vms/box/execute")
        await upload.begun.wait()
        wrong = BODY.replace(b'"code"', b'"cude"')
        answer = await owner.client.post("/api/vms/box/execute", content=wrong, headers=JSON)
        problem(answer, 422, "invalid_request")
        upload.may_end.set()


async def test_every_way_a_request_ends_gives_its_bytes_back() -> None:
    bodies = Bodies(LONGEST, LONGEST)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"x" * (LONGEST // 2), "more_body": True}

    for announced in ({}, {"content-length": str(LONGEST)}):
        for _ in range(2):
            body = bodies.of(Headers(announced), receive, 1)
            await body.receive()
            await body.receive()
            with pytest.raises(HTTPException) as too_long:
                await body.receive()
            assert too_long.value.status_code == 413
            with pytest.raises(HTTPException) as too_much:
                bodies.of(Headers({"content-length": str(SHORT + 1)}), receive, 1)
            assert isinstance(too_much.value.__cause__, RateLimited)
            body.close()
            body.close()
    assert bodies._held == {}
