"""Snapshots below the ones they came after."""

from __future__ import annotations

from datetime import datetime

from vmpool.cli.snapshots import ancestry
from vmpool.client.models import Snapshot


def snapshot(number: int, parent_id: int | None = None) -> Snapshot:
    return Snapshot(
        id=number, vm_id=1, name=f"s{number}", size=0, created_at=datetime(2026, 1, 1), parent_id=parent_id
    )


def lines(*found: Snapshot) -> list[tuple[int, int]]:
    return [(depth, one.id) for depth, one in ancestry(found)]


def test_each_below_the_one_it_came_after() -> None:
    found = (snapshot(5), snapshot(4, 1), snapshot(3, 2), snapshot(2, 1), snapshot(1))
    assert lines(*found) == [(0, 1), (1, 2), (2, 3), (1, 4), (0, 5)]


def test_one_whose_parent_is_not_there_stands_by_itself() -> None:
    assert lines(snapshot(7, 6), snapshot(8, 7)) == [(0, 7), (1, 8)]


def test_very_many_in_a_row() -> None:
    found = [snapshot(number, number - 1 or None) for number in range(1, 3000)]
    assert lines(*found)[-1] == (2998, 2999)
