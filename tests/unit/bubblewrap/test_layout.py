from __future__ import annotations

import json
from pathlib import Path

import pytest

from vmpool.backends.base import MachineSpec
from vmpool.backends.bubblewrap.layout import Record, read_record, write_record
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


def test_a_record_of_a_server_that_had_no_ranges(tmp_path: Path) -> None:
    data = json.loads(RECORD.dump())
    del data["ids"], data["name"]
    (tmp_path / "record.json").write_text(json.dumps(data))
    assert read_record(tmp_path / "record.json") == RECORD
