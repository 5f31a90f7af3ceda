"""A batch's results, as the answer has them: all in one, or each as an event.  No I/O."""

from __future__ import annotations

from functools import cache
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from vmpool.client.models import Answer, BatchError, Execution
from vmpool.client.sse import Event
from vmpool.client.wire import data_of, unexpected, value

_Item: TypeAlias = Annotated[Execution | BatchError, Field(union_mode="left_to_right")]
"""Nothing is both, so the frequent one is tried first and the other only where it does not fit."""


class Arrival(NamedTuple):
    """One VM's result in a batch.  place: of the VM in the request, counted from 0."""

    place: int
    result: Execution | BatchError


def results(payload: bytes) -> list[Execution | BatchError]:
    """The results of a batch's answer, in the order of the request; UnexpectedAnswer."""
    try:
        return _whole().validate_json(payload)
    except ValidationError as error:
        raise unexpected(payload) from error


class Reader:
    """Turns a batch's events into results.  complete: whether its end has come."""

    def __init__(self) -> None:
        self.complete = False
        self._count = 0

    def read(self, event: Event) -> Arrival | None:
        """The result that the event carries, if it carries one.

        Raises the error that the server sent in place of the rest, and UnexpectedAnswer for what no vmpool
        server sends.
        """
        data = data_of(event)
        if event.name == "message":
            arrived = value(_Arrived, data)
            self._count += 1
            return Arrival(arrived.place, arrived.item)
        if event.name == "end":
            self.complete = value(_End, data).items == self._count
            if not self.complete:
                raise unexpected(data)
        return None  # of a newer server


class _Arrived(Answer):
    place: int = Field(ge=0)
    item: _Item


class _End(Answer):
    items: int


@cache  # made when it is first used: making it costs more than a call
def _whole() -> TypeAdapter[list[Execution | BatchError]]:
    return TypeAdapter(list[_Item])
