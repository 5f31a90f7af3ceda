"""The way of one route past the framework: running code in a VM costs little, so everything around it counts.

Matching a path, resolving dependencies and validating an answer anew cost as much as everything else an
execution takes in this process.  What is well-formed is served here.  Whatever is not (another content type,
a field that is wrong), and what is to be streamed or to go on in the background, goes to the framework's own
route `vmpool.api.vms.execute`, which refuses it as all routes do: the two cannot answer differently, because
only one of them ever says no.
"""

from __future__ import annotations

import re

from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmpool.api import answers
from vmpool.api.bodies import Bodies
from vmpool.api.edge import Edge, Record
from vmpool.api.events import MEDIA_TYPE
from vmpool.api.idempotency import KEY_HEADER, MAX_KEY
from vmpool.api.schemas import ExecuteRequest
from vmpool.api.services import Services
from vmpool.domain import Principal
from vmpool.domain import Scope as Scopes

ROUTE = "/api/vms/{vm_id}/execute"
_PATH = re.compile(r"/api/vms/([a-z0-9-]{1,63})/execute")
"""A reference that is written with escapes or wrongly takes the long way."""


class ExecuteShortcut:
    """ASGI application: `POST /api/vms/{vm_id}/execute` by itself, everything else by `app`."""

    def __init__(self, app: ASGIApp, services: Services, record: Record, bodies: Bodies) -> None:
        self._app = app
        self._services = services
        self._edge = Edge(self._execute, services.authenticator, record, bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and _PATH.fullmatch(scope["path"]):
            await self._edge(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _execute(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Principal = scope["state"]["caller"]
        if Scopes.EXECUTE not in caller.key.scopes:
            scope["state"]["operation"] = "execute"  # what was refused, for the audit log
            caller.require(Scopes.EXECUTE)
        text = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client went away in the middle of its request
            text += message.get("body", b"")
            if not message.get("more_body", False):
                break
        asked = _understood(scope, text)
        if asked is None:
            await self._app(scope, _again(bytes(text), receive), send)
            return
        body, key = asked
        scope["state"]["route"] = ROUTE
        services = self._services
        reference = scope["path"].split("/")[3]
        request = services.defaults.execution(body)

        async def act() -> Response:
            return answers.send(answers.execution(await services.pool.execute(caller.id, reference, request)))

        once = services.once
        answer = await once.run(f"POST {scope['path']}", scope["state"]["request_id"], caller, key, body, act)
        await answer(scope, receive, send)


def _understood(scope: Scope, text: bytes | bytearray) -> tuple[ExecuteRequest, str | None] | None:
    """The request and its Idempotency-Key; None where something is to be refused, or more is asked for."""
    headers = Headers(scope=scope)
    key = headers.get(KEY_HEADER)
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return None
    if key is not None and not 1 <= len(key) <= MAX_KEY:
        return None
    if MEDIA_TYPE in headers.get("accept", ""):
        return None
    try:
        body = ExecuteRequest.__pydantic_validator__.validate_json(text)
    except ValidationError:
        return None
    return None if body.special else (body, key)


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` as it was before the body was read."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
