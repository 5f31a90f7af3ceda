"""Marks of a server become the parts of each execution."""

from __future__ import annotations

from bench.where import _executions, _table

NAMES = (
    "request read",
    "caller known",
    "row begun",
    "row written",
    "order sent",
    "end arrived",
    "row begun",
    "row written",
    "answer sent",
)


def marks_from(start: int) -> list[tuple[str, int]]:
    """One execution's marks, a millisecond apart."""
    found = [(name, start + (place + 1) * 1_000_000) for place, name in enumerate(NAMES)]
    found.insert(6, ("program's time", 500_000))
    return found


def test_each_execution_has_its_own_marks_and_its_second_row_is_its_end() -> None:
    stray = [("answer sent", 5)]
    first, second = 10, 100_000_000
    marks = [*stray, *marks_from(first), ("request read", 50_000_000), *marks_from(second)]
    found = _executions(marks, [(first, first + 10_000_000), (second, second + 10_000_000)])
    assert len(found) == 2
    for start, times in zip((first, second), found, strict=True):
        assert times["row written"] == start + 4_000_000
        assert times["end written"] == start + 8_000_000
        assert times["program's time"] == 500_000
    table = _table(found)
    assert "| the row of its end is written | 1.00 |" in table
    assert "| **all of it** (2 executions) | **10.00** |" in table


def test_an_execution_with_a_mark_missing_is_left_out() -> None:
    marks = [mark for mark in marks_from(0) if mark[0] != "caller known"]
    assert _executions(marks, [(0, 10_000_000)]) == []
