from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmpool.domain.rate import Bucket, Rate


def test_a_burst_and_then_so_many_a_second() -> None:
    rate, bucket = Rate(per_second=4, burst=3), Bucket()
    assert [bucket.take(rate, 100.0) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(rate, 100.0) == pytest.approx(0.25)
    assert bucket.take(rate, 100.1) == pytest.approx(0.15)  # what was refused took nothing
    assert bucket.take(rate, 100.25) == 0
    assert bucket.take(rate, 100.25) == pytest.approx(0.25)


def test_a_pause_gives_no_more_than_the_burst() -> None:
    rate, bucket = Rate(per_second=10, burst=2), Bucket()
    bucket.take(rate, 0.0)
    assert [bucket.take(rate, 1000.0) == 0 for _ in range(4)] == [True, True, False, False]


@given(
    per_second=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    steps=st.lists(st.floats(0, 2), min_size=1, max_size=200),
)
def test_no_time_sees_more_than_its_share(per_second: float, burst: int, steps: list[float]) -> None:
    rate, bucket, now = Rate(per_second, burst), Bucket(), 0.0
    taken: list[float] = []
    for step in steps:
        now += step
        wait = bucket.take(rate, now)
        if wait == 0:
            taken.append(now)
        else:
            assert 0 < wait <= 1 / per_second * 1.000001
    for first, begun in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= burst + (taken[last] - begun) * per_second + 1e-6
