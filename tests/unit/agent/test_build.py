"""How the agent is built: strictly here, so that it is kept clean, and forgivingly on a user's machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[3] / "agent"


@pytest.mark.parametrize(("given", "strict"), [((), True), (("WERROR=",), False)])
def test_warnings_are_errors_unless_the_build_hook_says_otherwise(
    given: tuple[str, ...], strict: bool, tmp_path: Path
) -> None:
    command = ["make", "--always-make", "--dry-run", f"OUT={tmp_path}", *given]
    plan = subprocess.run(command, cwd=AGENT, capture_output=True, text=True, check=True).stdout
    assert "-Wall" in plan
    assert ("-Werror" in plan) is strict
