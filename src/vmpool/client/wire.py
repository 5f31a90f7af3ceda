"""From a call to a request and from an answer to a value, without any I/O: shared by both clients."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from pydantic import TypeAdapter, ValidationError

from vmpool.client.errors import APIError, UnexpectedAnswer
from vmpool.client.models import Answer, Execution, Problem
from vmpool.client.sse import Event

A = TypeVar("A", bound=Answer)

QUICK = 60.0
"""Seconds to wait for an answer that needs no machine to be made."""
MACHINE = 300.0
"""Seconds to wait for an answer that makes, starts, stops or copies a machine."""
LARGEST_PAGE = 1000
"""Items a server puts on one page at most."""
EVENT_STREAM = "text/event-stream"
"""The media type of answers that come event by event."""
BYTES = "application/octet-stream"
"""The media type of what a program wrote, byte by byte."""
TAR = "application/x-tar"
"""The media type of directories."""
GRACE = 30.0
"""Seconds beyond an execution's own timeout: the server answers once the program has been ended."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    repeatable: whether sending it twice has the effect of sending it once (safe methods, and calls with an
    idempotency key).  wait: seconds to wait for the answer; None: for as long as it takes.
    also: statuses that are answers, not errors, beside 2xx.  idempotent: it says itself where it belongs.
    extra: further headers.
    """

    method: str
    path: str
    body: Mapping[str, object] | None = None
    params: Mapping[str, str | int] = field(default_factory=dict)
    idempotency_key: str | None = None
    wait: float | None = QUICK
    also: tuple[int, ...] = ()
    idempotent: bool = False
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again when nobody knows what became of the first."""
        safe = self.method in {"GET", "PUT", "DELETE"} or self.idempotent
        return safe or self.idempotency_key is not None

    def headers(self) -> dict[str, str]:
        """Headers of this one request."""
        return {**self.extra, **({"Idempotency-Key": self.idempotency_key} if self.idempotency_key else {})}


def vm_path(vm: int | str, *rest: str) -> str:
    """The path of a VM given by id or name, or of something below it."""
    return "/".join(("/api/vms", quote(str(vm), safe=""), *rest))


def number_of(execution: Execution | int) -> int:
    """An execution's id, of it or by itself."""
    return execution if isinstance(execution, int) else execution.id


def fresh_key() -> str:
    """An idempotency key that nobody has used."""
    return uuid.uuid4().hex


def given(**fields: object) -> dict[str, object]:
    """The fields that were given: None means "the server's default" and is not sent."""
    return {name: value for name, value in fields.items() if value is not None}


def value(model: type[A], payload: bytes | str) -> A:
    """`payload` as `model`; UnexpectedAnswer where it is something else."""
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        raise unexpected(payload) from error


def values(model: type[A], payload: bytes) -> list[A]:
    """`payload` as a list of `model`; UnexpectedAnswer where it is something else."""
    try:
        return TypeAdapter(list[model]).validate_json(payload)  # type: ignore[valid-type]
    except ValidationError as error:
        raise unexpected(payload) from error


def data_of(event: Event) -> str:
    """What an event carries; the error that the server sent in place of the rest is raised."""
    if event.name == "error":
        raise value(Problem, event.data).as_error()
    return event.data


def length(size: int | None) -> dict[str, str]:
    """The header that says how long a body is."""
    return {} if size is None else {"Content-Length": str(size)}


def first_page(path: str, limit: int | None, narrowed: Mapping[str, object]) -> str | None:
    """Where a collection begins, as `next_page` says where it goes on."""
    asked = dict(narrowed) if limit is None else {**narrowed, "limit": min(limit, LARGEST_PAGE)}
    if not asked:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode(asked)}"


def next_page(links: Mapping[str | None, dict[str, str]] | Mapping[str, dict[str, str]]) -> str | None:
    """Where the next page of a collection is, from the answer's `Link` header.

    Path and query only: a server behind a proxy need not know the address it is reached by.
    """
    url = links.get("next", {}).get("url")
    return None if url is None else urlunsplit(("", "", *urlsplit(url)[2:4], ""))


def error_of(status: int, headers: Mapping[str, str], payload: bytes) -> APIError:
    """The exception for an answer whose status is not 2xx, whatever its body is."""
    try:
        problem = Problem.model_validate_json(payload)
    except ValidationError:
        excerpt = payload[:200].decode("utf-8", "replace").strip()
        # An unlisted code, so that the family is chosen by the status alone.
        problem = Problem(status=status, code=f"http_{status}", detail=excerpt)
    problem = problem.model_copy(
        update={"status": status, "request_id": problem.request_id or headers.get("x-request-id")}
    )
    return problem.as_error(_seconds(headers.get("retry-after")))


def pause_before_retry(error: APIError, *, left: float) -> float | None:
    """Seconds to wait before a refused call is sent again; None when it should not be.

    Only refusals that say "later" qualify: nothing was carried out.  left: seconds of patience that remain.
    """
    if error.status not in {429, 503} or not error.retryable or error.dispatch == "outcome_unknown":
        return None
    pause = 1.0 if error.retry_after is None else max(error.retry_after, 0.05)
    return pause if pause <= left else None


def unexpected(payload: bytes | str) -> UnexpectedAnswer:
    """The exception for what no vmpool server answers."""
    excerpt = payload[:80]
    return UnexpectedAnswer(f"this is not a vmpool server, or a much newer one; it answered: {excerpt!r}")


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError:  # the date form: nobody here sends it, a proxy may
        return None
