"""The edge's error table: which status each error of `vmpool.errors` becomes, and its RFC 9457 body.

`STATUS` is looked up along the class's method resolution order, so a new leaf inherits its family's
status.  `docs/errors.md` is rendered from the same table.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from types import MappingProxyType

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from vmpool import errors
from vmpool.api.schemas import FieldError, Problem

log = logging.getLogger(__name__)

STATUS: Mapping[type[errors.VMPoolError], int] = MappingProxyType(
    {
        errors.VMPoolError: 500,
        errors.InvalidRequest: 422,
        errors.RangeNotSatisfiable: 416,
        errors.Unauthenticated: 401,
        errors.Forbidden: 403,
        errors.NotFound: 404,
        errors.EventsGone: 410,
        errors.Conflict: 409,
        errors.FileChanged: 412,
        errors.DiskFull: 507,
        errors.LimitReached: 429,
        errors.PoolFull: 503,
        errors.InfrastructureFailure: 502,
        errors.BackendUnreachable: 503,
    }
)

EDGE_CODES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request",
        404: "not_found",
        405: "method_not_allowed",
        413: "request_too_large",
        426: "upgrade_required",
        500: "internal",
    }
)
"""Codes of what HTTP itself refuses, before any part of the pool is asked."""

DEFAULT_RETRY_AFTER = 5.0
"""Seconds, where an error that passes by itself names none."""

MEDIA_TYPE = "application/problem+json"


def status_of(kind: type[errors.VMPoolError]) -> int:
    """The HTTP status of an error class: its own entry or its nearest ancestor's."""
    return next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)


def problem_of(error: errors.VMPoolError, request_id: str) -> Problem:
    """The body for one error, also used for the items of a batch."""
    status = status_of(type(error))
    dispatch = error.dispatch if isinstance(error, errors.InfrastructureFailure) else None
    context = {name: _plain(value) for name, value in error.context.items() if name != "dispatch"}
    field = error.context.get("field")
    wrong = None
    if isinstance(error, errors.InvalidRequest) and isinstance(field, str):
        wrong = [FieldError(field=field, problem=error.message.removeprefix(f"{field}: "))]
    return Problem(
        type=_type_of(error.code),
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        retryable=error.retryable,
        request_id=request_id,
        dispatch=dispatch,
        context=context,
        errors=wrong,
    )


class ProblemResponse(Response):
    """An answer that carries a problem, and leaves its code for whoever counts (`vmpool.api.observed`)."""

    media_type = MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str]) -> None:
        super().__init__(problem.model_dump_json(), problem.status, headers)
        self._code = problem.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["code"] = self._code
        await super().__call__(scope, receive, send)


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that carries `problem`."""
    return ProblemResponse(problem, dict(headers or {}))


def respond_to(error: errors.VMPoolError, request_id: str) -> Response:
    """The answer to a request that ended in `error`."""
    headers = {}
    wait = error.retry_after
    if wait is None and status_of(type(error)) in (429, 503):
        wait = DEFAULT_RETRY_AFTER
    if wait is not None:
        headers["Retry-After"] = str(max(1, math.ceil(wait)))
    if isinstance(error, errors.RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.context['size']}"
    if isinstance(error, errors.Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return respond(problem_of(error, request_id), headers)


def respond_to_http(error: HTTPException, request_id: str) -> Response:
    """The answer to what HTTP itself refuses; where an error of ours is the cause, the answer to that."""
    if isinstance(error.__cause__, errors.VMPoolError):
        return respond_to(error.__cause__, request_id)
    return respond(edge_problem(error.status_code, error.detail, request_id), error.headers)


def edge_problem(status: int, detail: str, request_id: str) -> Problem:
    """The body for what HTTP itself refuses."""
    code = EDGE_CODES.get(status, "invalid_request" if status < 500 else "internal")
    return Problem(
        type=_type_of(code),
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        retryable=False,
        request_id=request_id,
    )


def invalid_fields(found: Sequence[Mapping[str, object]], request_id: str) -> Problem:
    """The body for a request that does not validate; `found` is Pydantic's list of errors."""
    wrong = [_field_error(entry) for entry in found]
    return Problem(
        type=_type_of(errors.InvalidRequest.code),
        title=HTTPStatus(422).phrase,
        status=422,
        detail="; ".join(f"{entry.field}: {entry.problem}" for entry in wrong[:5]),
        code=errors.InvalidRequest.code,
        retryable=False,
        request_id=request_id,
        context={"field": wrong[0].field} if wrong else {},
        errors=wrong,
    )


def install(app: FastAPI) -> None:
    """Make every error of the routes an answer of this shape."""

    async def vmpool_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.VMPoolError)
        request_id: str = request.state.request_id
        if status_of(type(error)) == 500:
            log.error("request %s failed", request_id, exc_info=error)
        return respond_to(error, request_id)

    async def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return respond(invalid_fields(error.errors(), request.state.request_id))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        answer = respond_to_http(error, request.state.request_id)
        if error.status_code == 405:  # the framework names the methods of the first route of the path only
            answer.headers["Allow"] = ", ".join(sorted(_methods(app, request.url.path)))
        return answer

    app.add_exception_handler(errors.VMPoolError, vmpool_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)


def _methods(app: FastAPI, path: str) -> set[str]:
    """Every method that the document has for the path; of templates that match the most literal counts."""
    paths: dict[str, dict[str, object]] = app.openapi()["paths"]
    matching = [template for template in paths if _template(template).fullmatch(path)]
    found = min(matching, key=lambda template: template.count("{"), default=None)
    return {method.upper() for method in paths.get(found or "", ())}


@cache
def _template(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(path)))


def _type_of(code: str) -> str:
    return f"urn:vmpool:error:{code}"


def _plain(value: object) -> object:
    """`value` if JSON has it, else its text: an error's context must never make a second error."""
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _field_error(entry: Mapping[str, object]) -> FieldError:
    context = entry.get("ctx")
    facts = context if isinstance(context, Mapping) else {}
    where = entry.get("loc")
    path = list(where) if isinstance(where, Sequence) else []
    if entry.get("type") == "json_invalid":
        return FieldError(field="body", problem=f"is not JSON: {facts.get('error', 'cannot be read')}")
    # Pydantic's path begins with where the value was sent (body, query, path, header).
    names = [str(name) for name in path[1:]] or [str(facts.get("field") or "body")]
    message = str(entry.get("msg", "is wrong"))
    if entry.get("type") == "extra_forbidden":
        message = "is not a known field"
    return FieldError(field=".".join(names), problem=message[:1].lower() + message[1:])
