"""What a failing helper says to the caller."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vmpool.backends.bubblewrap import launching
from vmpool.backends.bubblewrap.host import find_programs
from vmpool.errors import BackendFailed


def test_a_failing_helper_names_no_path_to_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = tmp_path / "not-here"
    with caplog.at_level(logging.ERROR), pytest.raises(BackendFailed) as failed:
        launching.as_root(find_programs()[0], "cp", str(missing), str(tmp_path / "there"))
    assert str(tmp_path) not in failed.value.message
    assert str(missing) in caplog.text
