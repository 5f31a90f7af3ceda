"""The plan: from demand and room to what is made and dropped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmpool.domain import Census, Limits
from vmpool.pool.warm_pool.bounds import Bounds
from vmpool.pool.warm_pool.demand import SPAN, Demand, peak
from vmpool.pool.warm_pool.plan import plan, room, targets

COUNTS = st.dictionaries(st.sampled_from(["bash", "java", "nodejs", "python"]), st.integers(0, 12))
BOUNDS = st.builds(Bounds, maximum=st.integers(0, 10), minimum=COUNTS)


@pytest.mark.parametrize(
    ("demand", "bounds", "fits", "expected"),
    [
        ({}, Bounds(), 9, {}),
        ({"python": 3}, Bounds(), 9, {"python": 3}),
        ({"python": 30}, Bounds(maximum=4), 9, {"python": 4}),
        ({"python": 3}, Bounds(maximum=0), 9, {}),
        ({}, Bounds(minimum={"bash": 2}), 9, {"bash": 2}),
        ({"bash": 1}, Bounds(minimum={"bash": 2}), 9, {"bash": 2}),
        ({}, Bounds(minimum={"bash": 5}, maximum=3), 9, {"bash": 3}),
        ({"python": 3}, Bounds(), 2, {"python": 2}),
        ({"python": 9}, Bounds(minimum={"bash": 2}), 4, {"bash": 2, "python": 2}),
        ({"python": 6, "bash": 2}, Bounds(), 4, {"python": 4}),
        ({"python": 6, "bash": 2}, Bounds(), 6, {"python": 5, "bash": 1}),
        ({"python": 6}, Bounds(), 0, {}),
    ],
)
def test_how_many_there_should_be(
    demand: dict[str, int], bounds: Bounds, fits: int, expected: dict[str, int]
) -> None:
    assert targets(demand, bounds, fits) == expected


@given(COUNTS, BOUNDS, st.integers(0, 40))
def test_targets_stay_within_every_bound(demand: dict[str, int], bounds: Bounds, fits: int) -> None:
    found = targets(demand, bounds, fits)
    assert sum(found.values()) <= fits
    for template, count in found.items():
        wanted = max(demand.get(template, 0), bounds.minimum.get(template, 0))
        assert 0 < count <= min(bounds.maximum, wanted)
    everything = {
        name: min(bounds.maximum, max(demand.get(name, 0), bounds.minimum.get(name, 0)))
        for name in {*demand, *bounds.minimum}
    }
    if sum(everything.values()) <= fits:
        assert found == {name: count for name, count in everything.items() if count}


@given(COUNTS, COUNTS, COUNTS, st.integers(0, 40))
def test_no_plan_makes_too_many(
    wanted: dict[str, int], ready: dict[str, int], making: dict[str, int], fits: int
) -> None:
    found = plan(wanted, ready, making, fits)
    there = sum(ready.values()) + sum(making.values())
    assert there + len(found.make) <= max(fits, there)
    for template in {*wanted, *ready, *making}:
        made, dropped = found.make.count(template), found.drop.count(template)
        after = ready.get(template, 0) + making.get(template, 0) + made - dropped
        assert dropped <= ready.get(template, 0)
        assert not (made and dropped)
        if made:
            assert after <= wanted.get(template, 0)
        if dropped:
            assert after >= wanted.get(template, 0)
        elif not made:
            assert after >= wanted.get(template, 0) or there + len(found.make) >= fits


@given(COUNTS, COUNTS, st.integers(0, 60))
def test_following_the_plan_arrives_and_stays(
    demand: dict[str, int], ready: dict[str, int], fits: int
) -> None:
    wanted = targets(demand, Bounds(), fits)
    for _ in range(2):
        step = plan(wanted, ready, {}, fits)
        for template in step.drop:
            ready[template] -= 1
        for template in step.make:
            ready[template] = ready.get(template, 0) + 1
    assert {name: count for name, count in ready.items() if count} == wanted
    assert plan(wanted, ready, {}, fits) == plan({}, {}, {}, 0)


@pytest.mark.parametrize(
    ("now", "bounds", "expected"),
    [
        (Census(0, 0, 0, 0, 0), Bounds(memory=10_000), 16),
        (Census(90, 0, 0, 0, 0), Bounds(memory=10_000), 10),
        (Census(101, 0, 0, 0, 0), Bounds(memory=10_000), 0),
        (Census(9, 0, 8192 - 1024, 0, 0), Bounds(memory=10_000), 2),
        (Census(0, 0, 0, 0, 0), Bounds(memory=10_000, limits=Limits(memory=4096)), 2),
        (Census(0, 0, 0, 0, 0), Bounds(memory=60), 5),
        (Census(0, 0, 0, 0, 0), Bounds(memory=60, interpreters=0), 15),
        (Census(0, 0, 9999, 0, 0), Bounds(), 0),
    ],
)
def test_how_many_there_is_room_for(now: Census, bounds: Bounds, expected: int) -> None:
    assert room(now, bounds, 100, 8192) == expected


def test_demand_is_what_came_at_once_and_is_forgotten() -> None:
    demand = Demand(remember=100)
    for at in (0, 1, 2, 50, 51):
        demand.note("python", at)
    demand.note("bash", 60)
    assert demand.wanted(60) == {"python": 3, "bash": 1}
    assert demand.wanted(120) == {"python": 2, "bash": 1}
    assert demand.wanted(155) == {"bash": 1}
    assert demand.wanted(160) == {}


@given(st.lists(st.floats(0, 1000), max_size=50).map(sorted))
def test_the_peak_is_the_fullest_span(times: list[float]) -> None:
    assert peak(times, SPAN) == max(
        (sum(first <= time <= first + SPAN for time in times) for first in times), default=0
    )
