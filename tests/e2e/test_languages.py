"""The page about languages."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.e2e.conftest import VM, Site

PAGE = Path(__file__).parents[2] / "docs" / "languages.md"


def test_the_commands_of_the_page_work(site: Site, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        env={**site.env, "PATH": f"{VM.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "from C\nfrom Perl\n" in done.stdout
