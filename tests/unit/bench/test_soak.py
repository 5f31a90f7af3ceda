from __future__ import annotations

from dataclasses import replace

from bench.neighbours import Cost
from bench.soak import AT_ONCE, SLACK, Held, grown

FIRST = Held(memory=100 << 20, descriptors=20, threads=4, processes=1, groups=0, mounts=0, loops=0, files=10)


def test_nothing_may_grow_but_what_is_made_when_it_is_needed() -> None:
    assert grown(FIRST, FIRST) == {}
    assert grown(FIRST, replace(FIRST, memory=(110 << 20) + SLACK, threads=2)) == {}
    assert grown(FIRST, replace(FIRST, memory=(110 << 20) + SLACK + 1)).keys() == {"memory"}
    assert grown(FIRST, replace(FIRST, descriptors=20 + AT_ONCE, threads=4 + AT_ONCE)) == {}
    assert grown(FIRST, replace(FIRST, descriptors=21 + AT_ONCE, mounts=1)) == {
        "descriptors": (20, 21 + AT_ONCE),
        "mounts": (0, 1),
    }


def test_the_cost_of_neighbours_is_a_ratio() -> None:
    assert Cost(idle=2.0, beside=9.0).ratio == 4.5
