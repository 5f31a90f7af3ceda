"""Idempotency-Key: the same request twice is done once and answered twice, for a day."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Self

import anyio
from fastapi import Header
from pydantic import BaseModel
from starlette.responses import Response

from vmpool.api.errors import MEDIA_TYPE, problem_of
from vmpool.domain import Principal
from vmpool.errors import InfrastructureFailure, Interrupted, StoreFailed, VMPoolError
from vmpool.store import Fresh, Replay
from vmpool.store.idempotency import Idempotency

log = logging.getLogger(__name__)

KEY_HEADER = "Idempotency-Key"
MAX_KEY = 255
"""Characters of a key."""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=MAX_KEY,
        description="The same key and body answers the same result for a day.",
    ),
]

REPLAYED = "Idempotency-Replayed"
"""Header of an answer that was kept from the first time."""


@dataclass(frozen=True, slots=True)
class KeptKeys:
    """What is kept of one user's keys: the newest `count`, and of their answers `size` bytes."""

    count: int = 100_000
    size: int = 128 << 20


class Once:
    """Does the work of a key at most once; equal requests at the same time share one result.

    An async context manager: leaving it waits until every answer is kept.  kept: for each user; between two
    looks at it there can be an eighth more.
    """

    def __init__(self, claims: Idempotency, kept: KeptKeys) -> None:
        self._claims = claims
        self._kept = kept
        self._since_look: dict[int, KeptKeys] = {}
        self._in_flight: dict[tuple[int, str], anyio.Event] = {}
        self._tasks = anyio.create_task_group()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._tasks.__aexit__(kind, error, trace)

    async def run(
        self,
        route: str,
        request_id: str,
        caller: Principal,
        key: str | None,
        body: BaseModel | None,
        act: Callable[[], Awaitable[Response]],
    ) -> Response:
        """`act()`, or what it answered the first time.  route: the request's method and path.

        A refusal frees the key, since nothing was done.  A failure after which nobody knows whether the
        code ran keeps it: the same key then answers that failure again and never runs the code twice.
        Raises IdempotencyMismatch for another request with this key, and Interrupted where an earlier
        server, or a crash in this one, left the key's request unfinished.
        """
        if key is None:
            return await act()
        fingerprint = _fingerprint(body)
        claimed = (caller.id, key)
        while True:
            claim = await self._claims.claim(caller.id, key, route, fingerprint)
            if isinstance(claim, Fresh):
                return await self._first(claimed, request_id, act)
            if isinstance(claim, Replay):
                return _again(claim)
            ahead = self._in_flight.get(claimed)
            if ahead is None:
                raise Interrupted
            await ahead.wait()

    async def _first(
        self, claimed: tuple[int, str], request_id: str, act: Callable[[], Awaitable[Response]]
    ) -> Response:
        settled = self._in_flight[claimed] = anyio.Event()
        handed_on = False
        try:
            try:
                answer = await act()
            except VMPoolError as error:
                await self._settle_failure(claimed, error, request_id)
                raise
            # Keeping the answer does not delay it; whoever repeats the request meanwhile waits for it.
            self._tasks.start_soon(self._keep, claimed, answer, settled)
            handed_on = True
            return answer
        finally:
            if not handed_on:
                self._done(claimed, settled)

    async def _keep(self, claimed: tuple[int, str], answer: Response, settled: anyio.Event) -> None:
        try:
            with anyio.CancelScope(shield=True):
                await self._claims.complete(*claimed, answer.status_code, bytes(answer.body).decode())
        except StoreFailed:  # the answer is out; asking again will say Interrupted
            log.exception("an answer could not be kept for its Idempotency-Key")
        finally:
            self._done(claimed, settled)
        await self._bound(claimed[0], len(answer.body))

    async def _bound(self, user_id: int, size: int) -> None:
        """An answer of so many bytes was kept: when an eighth of what may be has come, the oldest go."""
        kept = self._kept
        # Of a user's first nobody knows how many an earlier server left.
        since = self._since_look.get(user_id, kept)
        since = KeptKeys(since.count + 1, since.size + size)
        if since.count * 8 < kept.count and since.size * 8 < kept.size:
            self._since_look[user_id] = since
            return
        self._since_look[user_id] = KeptKeys(0, 0)
        try:
            with anyio.CancelScope(shield=True):
                await self._claims.keep_newest(user_id, kept.count, kept.size)
        except StoreFailed:
            log.exception("old Idempotency-Keys could not be forgotten")

    async def _settle_failure(self, claimed: tuple[int, str], error: VMPoolError, request_id: str) -> None:
        with anyio.CancelScope(shield=True):
            if isinstance(error, StoreFailed):
                return  # the work may be done; the key stays taken
            if isinstance(error, InfrastructureFailure) and error.dispatch == "outcome_unknown":
                problem = problem_of(error, request_id)
                await self._claims.complete(*claimed, problem.status, problem.model_dump_json())
                self._tasks.start_soon(self._bound, claimed[0], 0)
            else:
                await self._claims.release(*claimed)

    def _done(self, claimed: tuple[int, str], settled: anyio.Event) -> None:
        self._in_flight.pop(claimed, None)
        settled.set()


async def settle_interrupted(claims: Idempotency) -> int:
    """At a server's start: requests that an earlier server left unfinished answer Interrupted from now on."""
    problem = problem_of(Interrupted(), "")
    return await claims.settle_unfinished(problem.status, problem.model_dump_json())


def _fingerprint(body: BaseModel | None) -> str:
    """A hash of what was asked, the same however the JSON was written."""
    text = "" if body is None else body.model_dump_json(exclude_unset=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _again(kept: Replay) -> Response:
    media_type = MEDIA_TYPE if kept.status >= 400 else "application/json"
    return Response(kept.body, kept.status, {REPLAYED: "true"}, media_type)
