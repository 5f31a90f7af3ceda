"""Every error of the tree: codes are a closed list, and what a caller sees is there."""

from __future__ import annotations

from collections.abc import Iterator

from vmpool import errors
from vmpool.errors import AgentRefused, AgentUnreachable, InfrastructureFailure, PoolFull, VMPoolError


def tree(root: type[VMPoolError]) -> Iterator[type[VMPoolError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_codes_are_unique() -> None:
    codes = [error.code for error in tree(VMPoolError)]
    assert len(codes) == len(set(codes))


def test_every_class_is_in_the_drawing() -> None:
    assert errors.__doc__ is not None
    for error in tree(VMPoolError):
        assert error.__name__ in errors.__doc__


def test_infrastructure_failures_say_whether_the_code_may_have_run() -> None:
    assert AgentUnreachable("gone").dispatch == "never_dispatched"
    lost = AgentUnreachable("gone", dispatch="outcome_unknown")
    assert lost.dispatch == lost.context["dispatch"] == "outcome_unknown"
    assert AgentRefused("not_found", "no").reason == "not_found"
    assert issubclass(AgentRefused, InfrastructureFailure)


def test_retry_after() -> None:
    assert PoolFull("memory", 10, 12, retry_after=7).retry_after == 7.0
    assert VMPoolError("x").retry_after is None
