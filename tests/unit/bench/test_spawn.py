"""Starting programs: their output, their failure, and one that hangs."""

from __future__ import annotations

import subprocess

import pytest

from bench import spawn
from bench.spawn import LIKE_A_VM, output_of


def test_output() -> None:
    assert output_of(["/bin/sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x"]) == "x" * 200_000


def test_environment() -> None:
    assert output_of(["/bin/sh", "-c", "echo $HOME"], LIKE_A_VM) == "/nonexistent\n"


def test_failure() -> None:
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        output_of(["/bin/sh", "-c", "exit 3"])


def test_no_such_program() -> None:
    with pytest.raises(FileNotFoundError):
        output_of(["/nonexistent/program"])


def test_a_program_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "LIMIT", 0.1)
    with pytest.raises(TimeoutError):
        output_of(["/bin/sleep", "60"])
