"""How many bytes of requests are taken in: of one request, and of one user's requests at the same time.

A body lies in memory until its request is answered, a few times over once it is parsed.  So what one user has
in flight is bounded, whoever sends how much at once.  Bodies that are short are not counted: how many there
can be the connections bound.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from vmpool.errors import RateLimited

MAX_BODY_BYTES = 32 << 20
SHORT = 64 << 10
"""Bytes of a body that is not counted."""
AGAIN_AFTER = 1.0
"""Seconds after which a refused request may come again: most bodies are gone by then."""


_STREAMED = {
    "PUT": re.compile(r"/api/vms/[^/]+/(files|tree)"),
    "POST": re.compile(r"/api/vms/[^/]+/snapshots/import"),
}


def is_streamed(scope: Scope) -> bool:
    """Whether the request's body is passed on as it comes: it lies nowhere, and its route bounds it."""
    paths = _STREAMED.get(scope["method"])
    return paths is not None and paths.fullmatch(scope["path"]) is not None


class Bodies:
    """The bodies in flight of one server.

    longest: bytes of one.  of_user: bytes of all counted ones of one user; None: four of the longest.
    """

    def __init__(self, longest: int = MAX_BODY_BYTES, of_user: int | None = None) -> None:
        self.longest = longest
        self._of_user = 4 * longest if of_user is None else of_user
        self._held: dict[int, int] = {}

    def of(self, headers: Headers, receive: Receive, user_id: int | None) -> Body:
        """The body of a request, to be closed once that is answered.

        user_id: None for one that is counted elsewhere.  Raises as `Body.receive`, by the announced length.
        """
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced) > self.longest:
            raise _too_large(self.longest)
        body = Body(self, receive, user_id)
        if int(announced) > SHORT:
            body.hold(int(announced))
        return body

    def hold(self, user_id: int, count: int) -> None:
        """Count so many bytes more of a user's; RateLimited where that is too many."""
        held = self._held.get(user_id, 0) + count
        if held > self._of_user:
            raise RateLimited(f"bytes of request bodies at once, {held} of {self._of_user}", AGAIN_AFTER)
        self._held[user_id] = held

    def give(self, user_id: int, count: int) -> None:
        """So many are gone."""
        left = self._held[user_id] - count
        if left:
            self._held[user_id] = left
        else:
            del self._held[user_id]


class Body:
    """One request's body as it comes in."""

    __slots__ = ("_bodies", "_held", "_receive", "_taken", "_user_id")

    def __init__(self, bodies: Bodies, receive: Receive, user_id: int | None) -> None:
        self._bodies = bodies
        self._receive = receive
        self._user_id = user_id
        self._taken = 0
        self._held = 0

    async def receive(self) -> Message:
        """ASGI's `receive`.

        HTTPException: 413 for a body that is too long; 429, caused by a RateLimited, where its user has too
        much in flight.  (The framework lets no other error out of the reading of a body.)
        """
        message = await self._receive()
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            if self._taken > SHORT:
                if self._taken > self._bodies.longest:
                    raise _too_large(self._bodies.longest)
                if self._taken > self._held:
                    self.hold(self._taken)
        return message

    def hold(self, count: int) -> None:
        """Count the body as so long."""
        if self._user_id is not None:
            try:
                self._bodies.hold(self._user_id, count - self._held)
            except RateLimited as error:
                raise HTTPException(429) from error
            self._held = count

    def close(self) -> None:
        """The request is answered."""
        if self._held and self._user_id is not None:
            self._bodies.give(self._user_id, self._held)
            self._held = 0


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body is longer than {limit} bytes")
