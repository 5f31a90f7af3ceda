"""Around every request: its id, its span, what is counted of it and, if asked for, its line in the log.

Written against ASGI itself: it runs for each request, executions included, and costs some microseconds.
"""

from __future__ import annotations

import logging
import re
import secrets
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vmpool.telemetry import Telemetry, log_context
from vmpool.telemetry.tracing import Attribute

log = logging.getLogger("vmpool.access")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
UNMATCHED = "unmatched"
"""The route of a request for a path that no route has: callers make up paths without end."""
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
NO_ANSWER = "none"
"""The status of a request whose caller went away first."""


class Observed:
    """ASGI middleware: sets `request.state.request_id`, and sees how every request ends.

    What is inside may leave in `request.state`: `route`, the template its path met, `code`, of the error
    it was answered with, and `switched`, where the connection has left HTTP.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, *, access_log: bool = False) -> None:
        self._app = app
        self._metrics = telemetry.metrics
        self._tracer = telemetry.tracer
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status = NO_ANSWER
        sent, traceparent = _headers(scope)
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = request_id_of(sent)
        log_context.for_request(request_id)

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            if self._tracer.on:
                with self._tracer.request(scope["method"], traceparent) as span:
                    await self._app(scope, receive, sending)
                    self._describe(span, scope, status)
            else:
                await self._app(scope, receive, sending)
        finally:
            if "switched" in state:
                status = "101"
            self._count(scope, status, perf_counter() - began)

    def _describe(self, span: object, scope: Scope, status: str) -> None:
        route, state = _route(scope), scope["state"]
        facts: dict[str, Attribute] = {
            "http.request.method": scope["method"],
            "http.route": route,
            "http.response.status_code": int(status) if status.isdecimal() else 0,
            "vmpool.request_id": state["request_id"],
        }
        if "code" in state:
            facts["error.type"] = state["code"]
        self._tracer.describe(span, f"{scope['method']} {route}", facts)

    def _count(self, scope: Scope, status: str, seconds: float) -> None:
        route, code = _route(scope), scope["state"].get("code")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._metrics.http_requests.add(method, route, status)
        self._metrics.http_duration.observe(seconds, route)
        if code is not None:
            self._metrics.refusals.add(code)
        if self._access_log:
            # the path as it was sent: no escape in it is a line break yet
            path = scope.get("raw_path", b"").partition(b"?")[0].decode("ascii", "backslashreplace")
            log.info("%s %s %s in %.1f ms", method, path, status, seconds * 1000)


def request_id_of(sent: str | None) -> str:
    """The caller's own id where it is harmless in a log, else a fresh one."""
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return sent
    return fresh_request_id()


def fresh_request_id() -> str:
    """One that nobody has sent."""
    return secrets.token_hex(8)


def _headers(scope: Scope) -> tuple[str | None, str | None]:
    """The caller's request id and trace parent, the first of each."""
    sent = traceparent = None
    for name, value in scope["headers"]:
        if name == b"x-request-id" and sent is None:
            sent = value.decode("latin-1")
        elif name == b"traceparent" and traceparent is None:
            traceparent = value.decode("latin-1")
    return sent, traceparent


def _route(scope: Scope) -> str:
    """The template of the path, known once a route was met."""
    found: str | None = scope["state"].get("route")
    if found is None:
        found = getattr(scope.get("route"), "path", None)
    return found or UNMATCHED
