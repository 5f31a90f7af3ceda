"""What a failing helper says to the caller."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmpool.backends.bubblewrap import launching
from vmpool.backends.bubblewrap.host import find_programs
from vmpool.backends.bubblewrap.launching import Launcher
from vmpool.errors import BackendFailed


def test_a_failing_helper_names_no_path_to_the_caller(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = tmp_path / "not-here"
    with caplog.at_level(logging.ERROR), pytest.raises(BackendFailed) as failed:
        launching.as_root(find_programs()[0], "cp", str(missing), str(tmp_path / "there"))
    assert str(tmp_path) not in failed.value.message
    assert str(missing) in caplog.text


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    made = Launcher(find_programs()[0].launcher)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "the plan is cut short"),
        (("dir", "x"), "the plan is cut short"),
        (("nonsense", "end"), "unknown directive 'nonsense'"),
        (("pidfile", "x", "end"), "the plan lacks stage or pidfile"),
        (("hostname", "2", "x", "end"), "cannot enter the VM's UTS namespace"),
        (("lock", "9", "end"), "descriptor 9 of the plan"),
        (("dir", "x" * (1 << 17), "end"), "the plan is cut short"),
    ],
)
def test_what_is_no_plan_is_refused(launcher: Launcher, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(BackendFailed, match=said):
        launcher.run((*words,) or ("",), ())


def test_a_launcher_that_was_killed_is_started_again(launcher: Launcher) -> None:
    for _ in range(3):
        with pytest.raises(BackendFailed, match="unknown directive"):
            launcher.run(("nonsense", "end"), ())
        process = launcher._process
        assert process is not None
        process.kill()
        process.wait()


def test_it_ends_with_whoever_uses_it(launcher: Launcher) -> None:
    with pytest.raises(BackendFailed, match="unknown directive"):
        launcher.run(("nonsense", "end"), ())
    process = launcher._process
    assert process is not None and process.poll() is None
    launcher.close()
    assert process.returncode == 0
