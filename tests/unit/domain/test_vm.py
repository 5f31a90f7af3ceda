from __future__ import annotations

from datetime import datetime

import pytest

from vmpool.domain import ARROWS, VM, Limits, VMState, advance
from vmpool.errors import IllegalTransition

IN_PROGRESS = {state for state in VMState if state.value.endswith("ing") and state is not VMState.RUNNING}


def vm(state: VMState) -> VM:
    return VM(1, 1, "box", state, "python", "python", Limits(), "fake", "none", datetime(2026, 1, 1))


@pytest.mark.parametrize("state", list(VMState))
@pytest.mark.parametrize("to", list(VMState))
def test_advance_follows_the_arrows_and_nothing_else(state: VMState, to: VMState) -> None:
    if to in ARROWS[state]:
        moved = advance(vm(state), to)
        assert moved.state is to
        assert moved.id == 1
    else:
        with pytest.raises(IllegalTransition):
            advance(vm(state), to)


def test_every_state_has_arrows_and_every_state_but_the_first_can_be_reached() -> None:
    assert ARROWS.keys() == set(VMState)
    reached = set().union(*ARROWS.values())
    assert reached == set(VMState) - {VMState.CREATING}


def test_only_deleted_is_an_end_and_it_can_be_reached_from_everywhere() -> None:
    assert {state for state, arrows in ARROWS.items() if not arrows} == {VMState.DELETED}
    for state in VMState:
        seen, frontier = {state}, [state]
        while frontier:
            for following in ARROWS[frontier.pop()] - seen:
                seen.add(following)
                frontier.append(following)
        assert VMState.DELETED in seen


def test_work_in_progress_can_fail() -> None:
    for state in IN_PROGRESS - {VMState.DELETING}:
        assert ARROWS[state] & {VMState.ERROR, VMState.STOPPED}
