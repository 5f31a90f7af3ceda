"""The outermost layer of every request: its id, its caller, the size of its body, and what may go wrong.

Written against ASGI itself: it runs for each request, and it must also answer for what the routes do not.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmpool import errors
from vmpool.api.bodies import Bodies, Body
from vmpool.api.errors import edge_problem, respond, respond_to, respond_to_http
from vmpool.api.observed import request_id_of
from vmpool.api.record import REFUSED
from vmpool.domain import Principal
from vmpool.telemetry import log_context

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/health", "/ready", "/openapi.json"})
"""What is answered without a key."""

Authenticate = Callable[[str | None, str | None], Awaitable[Principal]]
"""From the Authorization header's value and the sender's address to who asks; raises Unauthenticated."""
Record = Callable[[Scope, int], Awaitable[None]]
"""Hears of every answer before it leaves: the request and the answer's status."""

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_SECURE_HEADERS = (*_HEADERS, (b"strict-transport-security", b"max-age=31536000"))


IsOpen = Callable[[Scope], bool]
"""Whether a request is answered without a key."""
IsStreamed = Callable[[Scope], bool]
"""Whether a request's body is passed on as it comes, so that its length needs no bound."""


def open_path(scope: Scope) -> bool:
    """Whether the path is answered without a key, whoever asks."""
    return scope["path"] in OPEN_PATHS


class Edge:
    """ASGI middleware: sets `request.state.request_id` and `request.state.caller` for the routes."""

    def __init__(
        self,
        app: ASGIApp,
        authenticate: Authenticate,
        record: Record,
        bodies: Bodies,
        is_open: IsOpen = open_path,
        is_streamed: IsStreamed | None = None,
    ) -> None:
        self._app = app
        self._is_streamed = is_streamed
        self._is_open = is_open
        self._authenticate = authenticate
        self._record = record
        self._bodies = bodies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        if "request_id" not in state:
            state["request_id"] = request_id_of(headers.get("x-request-id"))
        request_id: str = state["request_id"]
        begun = False
        body: Body | None = None

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                decorate(message, request_id, secure=scope.get("scheme") == "https")
                if "operation" in state or message["status"] in REFUSED:
                    await self._record(scope, message["status"])
            await send(message)

        try:
            # What the shortcut hands on has been let in, and its body counted, there.
            counted_for: int | None = None
            if "caller" not in state and not self._is_open(scope):
                client = scope.get("client")
                address = None if client is None else client[0]
                caller = state["caller"] = await self._authenticate(headers.get("authorization"), address)
                log_context.for_user(caller.id)
                counted_for = caller.id
            if self._is_streamed is not None and self._is_streamed(scope):
                await self._app(scope, receive, sending)
            else:
                body = self._bodies.of(headers, receive, counted_for)
                await self._app(scope, body.receive, sending)
        except errors.VMPoolError as error:
            if isinstance(error, errors.UserDisabled):
                state["refused"] = error
            await respond_to(error, request_id)(scope, receive, sending)
        except HTTPException as error:
            await respond_to_http(error, request_id)(scope, receive, sending)
        except anyio.get_cancelled_exc_class():
            # The server ends and this request has outlasted its patience.  The task ends here too, so the
            # cancellation need not go further; the answer says what is known.
            if begun:
                raise
            await respond_to(cut(), request_id)(scope, receive, sending)
        except Exception:
            # The edge: whatever the routes did not foresee becomes a 500 that names the log's entry.
            log.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
            if begun:
                raise
            problem = edge_problem(500, f"internal error, in the log as {request_id}", request_id)
            await respond(problem)(scope, receive, sending)
        finally:
            if body is not None:
                body.close()


def cut() -> errors.InfrastructureFailure:
    """What is told of a request that the server's end has cut."""
    return errors.InfrastructureFailure(
        "the server is ending; what this request began may go on: look at the VM's executions",
        dispatch="outcome_unknown",
    )


def headers_of_every_answer(request_id: str, *, secure: bool) -> tuple[tuple[bytes, bytes], ...]:
    """What every answer carries unless it says otherwise itself.  secure: it goes out through TLS.

    Nothing here is for a browser to show, run, frame or keep.
    """
    return ((b"x-request-id", request_id.encode()), *(_SECURE_HEADERS if secure else _HEADERS))


def decorate(message: Message, request_id: str, *, secure: bool) -> None:
    """Add them to an answer's beginning."""
    headers = list(message.get("headers", ()))
    present = {name for name, _ in headers}
    own = headers_of_every_answer(request_id, secure=secure)
    message["headers"] = headers + [(name, value) for name, value in own if name not in present]
