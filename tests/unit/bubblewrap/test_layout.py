from __future__ import annotations

from pathlib import Path

import pytest

from vmpool.backends.base import MachineKey, MachineSpec
from vmpool.backends.bubblewrap.layout import Record, read_record, write_record
from vmpool.backends.bubblewrap.machines import FIRST_ID, RANGE_IDS, first_id
from vmpool.backends.bubblewrap.toolchains import Toolchain
from vmpool.domain import Limits

RECORD = Record(
    spec=MachineSpec("box", "python", Limits(memory=7), {"A": "ü"}, labels={"x": "y"}, snapshot="s"),
    grade="user",
    image=False,
    disk=9,
    base="b",
    tree="b-1",
    toolchains=(Toolchain("rust", "/opt/rust"),),
    warnings=("one", "two"),
)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    write_record(tmp_path / "record.json", RECORD)
    assert read_record(tmp_path / "record.json") == RECORD


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spec": {}}', RECORD.dump()[:-20], "null"])
def test_half_a_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    assert read_record(tmp_path / "record.json") is None


def test_no_record(tmp_path: Path) -> None:
    assert read_record(tmp_path / "record.json") is None


def test_ranges_do_not_overlap_and_fit() -> None:
    starts = [first_id("p", MachineKey(vm, generation)) for vm in range(1, 400) for generation in (1, 2)]
    assert len(set(starts)) == len(starts)
    assert all(FIRST_ID <= start < 2**32 - RANGE_IDS and start % RANGE_IDS == 0 for start in starts)
