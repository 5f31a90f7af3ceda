"""Errors, on their own and inside answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vmpool.api.schemas.base import Answer


class FieldError(Answer):
    """One wrong field of a request."""

    field: str = Field(description="Where it is, with dots: `env.PATH`, `vm_ids.0`, or a parameter's name.")
    problem: str = Field(description="What would be right.")


class Problem(Answer):
    """An error, as RFC 9457 (`application/problem+json`)."""

    type: str = Field(description="A URI reference that names the kind of problem; ends in `code`.")
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong with this request, in one sentence.")
    code: str = Field(description="One of the closed list in docs/errors.md.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    request_id: str = Field(description="Also in X-Request-ID; quote it when asking for help.")
    dispatch: Literal["never_dispatched", "outcome_unknown"] | None = Field(
        default=None, description="For failures of the infrastructure: whether the code may have run."
    )
    context: dict[str, object] = Field(default_factory=dict, description="Facts of this occurrence.")
    errors: list[FieldError] | None = Field(default=None, description="Each wrong field, for a 422.")
