"""Spans: what a request was spent on.  Off, a span is one shared object that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

NOTHING: AbstractContextManager[None] = nullcontext()
"""The span of a tracer that is off."""

Attribute = str | int | float | bool


class Tracer:
    """A tracer that is off.  `vmpool.otel` has the one that is on."""

    on = False

    def span(
        self, name: str, attributes: Mapping[str, Attribute] | None = None
    ) -> AbstractContextManager[object]:
        """What is done in this block, as part of the span around it."""
        return NOTHING

    def request(self, name: str, traceparent: str | None) -> AbstractContextManager[object]:
        """A request's span: a child of the caller's, where the request names one."""
        return NOTHING

    def describe(self, span: object, name: str, attributes: Mapping[str, Attribute]) -> None:
        """Name a span by what it turned out to be, and say more of it."""

    def close(self) -> None:
        """Hand on what has gathered."""
