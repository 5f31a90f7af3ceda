"""Pages whose commands have no other tests of their own here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import VM, Site

pytestmark = pytest.mark.timeout(180)

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("languages.md", ("from C\nfrom Perl\n",)),
        ("pause.md", ("paused", "awake")),
        ("snapshots.md", ("one\n", "before.tar", "after, ", "box-3", "try-this")),
        (
            "templates.md",
            (
                "42\n",
                "  with-tools (template)\n    fresh (VM)\n",
                "built six times seven\n",
                "made for you\n",
            ),
        ),
        ("terminals.md", ("I am user\nLinux\n",)),
    ],
)
def test_the_commands_of_the_page_work(site: Site, tmp_path: Path, page: str, said: tuple[str, ...]) -> None:
    text = (DOCS / page).read_text()
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        env={**site.env, "PATH": f"{VM.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(words in done.stdout for words in said), done.stdout
