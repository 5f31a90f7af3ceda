"""No two machines have the same ids."""

from __future__ import annotations

from vmpool.backends.base import MachineKey
from vmpool.backends.bubblewrap.ranges import FIRST_ID, RANGE_IDS, RANGES, Ranges

SPARE, KEY, OTHER = MachineKey.spare(5), MachineKey(1), MachineKey(2)


def test_ranges_do_not_overlap_and_fit() -> None:
    ranges = Ranges("p")
    keys = [MachineKey(vm, generation) for vm in range(1, 400) for generation in (1, 2)]
    starts = [ranges.take(key) for key in keys]
    assert len(set(starts)) == len(starts)
    assert all(FIRST_ID <= start < 2**32 - RANGE_IDS and start % RANGE_IDS == 0 for start in starts)


def test_a_range_is_kept_until_the_machine_is_gone() -> None:
    ranges = Ranges("p")
    assert ranges.take(KEY) == ranges.take(KEY)


def test_two_that_would_have_the_same_do_not() -> None:
    ranges, same = Ranges("p"), MachineKey(KEY.vm_id, KEY.generation + RANGES)
    first = ranges.take(KEY)
    assert ranges.take(same) != first
    ranges.free(KEY)
    assert ranges.take(OTHER) != first
    ranges.free(same)
    assert Ranges("p").take(same) == first


def test_what_is_handed_on_is_nobody_elses() -> None:
    ranges = Ranges("p")
    first = ranges.take(SPARE)
    ranges.hand_on(SPARE, KEY)
    ranges.free(SPARE)
    assert ranges.take(KEY) == first
    assert ranges.take(SPARE) != first
    ranges.free(KEY)
    assert Ranges("p").take(SPARE) == first


def test_what_an_earlier_server_gave_out_is_taken() -> None:
    earlier, ranges = Ranges("p"), Ranges("p")
    first = earlier.take(SPARE)
    ranges.note(KEY, first)
    assert ranges.take(KEY) == first
    assert ranges.take(SPARE) != first
