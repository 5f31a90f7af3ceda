from __future__ import annotations

from vmpool.domain import ARROWS, VMState

IN_PROGRESS = {state for state in VMState if state.value.endswith("ing") and state is not VMState.RUNNING}


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
