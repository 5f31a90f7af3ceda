"""What an execution says of itself."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime

from vmpool.domain import Execution, ExecutionState, Outcome

BEGUN = Execution(
    id=7,
    vm_id=3,
    code="print(1)",
    language="python",
    state=ExecutionState.RUNNING,
    executed_at=datetime(2026, 1, 2),
    timeout=5.0,
    background=True,
    terminal=True,
    linger=5.0,
)


def test_one_that_is_settled_keeps_everything_else() -> None:
    outcome = Outcome(output="1\n", error="", exit_code=0, execution_time=0.1)
    said = BEGUN.settled(ExecutionState.LOST, outcome, "it was cancelled")
    assert said == replace(BEGUN, state=ExecutionState.LOST, outcome=outcome, failure="it was cancelled")


def test_that_test_sees_every_field() -> None:
    """A field that was added and has its default there would not be missed."""
    ends = {"state", "outcome", "failure"}
    assert [
        one.name
        for one in fields(Execution)
        if one.name not in ends and getattr(BEGUN, one.name) == one.default
    ] == []
