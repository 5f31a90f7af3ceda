"""Entering the backend does not wait for the look at the whole system; making a user's VM does."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from vmpool.backends.bubblewrap.bases import LAST, Bases, Look
from vmpool.errors import BackendFailed

SLOW = ("sh", "-c", "sleep 0.5; printf '/usr/b\\0/usr/a\\0'")


def test_the_look_passes_beside_what_else_there_is_to_do() -> None:
    began = time.monotonic()
    look = Look(SLOW)
    assert time.monotonic() - began < 0.4
    assert look.found() == look.found() == ("usr/a", "usr/b")
    look.close()


def test_half_a_look_is_none() -> None:
    look = Look(("sh", "-c", "printf '/usr/a\\0'; kill -9 $$"))
    for _ in range(2):
        with pytest.raises(BackendFailed):
            look.found()
    look.close()


def test_a_look_nobody_wants_any_more_is_broken_off() -> None:
    began = time.monotonic()
    look = Look(("sleep", "60"))
    look.close()
    assert time.monotonic() - began < 10
    with pytest.raises(BackendFailed):
        look.found()


def test_only_a_machine_of_nobodys_stands_on_what_was_found_last(tmp_path: Path) -> None:
    (tmp_path / LAST).write_text(json.dumps(["usr/a"]))
    look = Look(SLOW)
    standing = Bases(tmp_path, "digest", (), look)
    before = standing.likely()
    assert (before / "hidden/usr/a").is_char_device() and not (before / "hidden/usr/b").exists()
    now = standing.current()
    assert (now / "hidden/usr/b").is_char_device()
    assert now != before
    assert standing.current() == standing.likely() == now
    look.close()


def test_without_an_earlier_look_the_likely_base_is_the_present_one(tmp_path: Path) -> None:
    look = Look(None)
    standing = Bases(tmp_path, "digest", (), look)
    assert standing.likely() == standing.current()
    assert not (standing.current() / "hidden").exists()
    look.close()
