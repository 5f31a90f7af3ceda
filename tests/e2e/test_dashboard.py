"""The dashboard in a real browser, against a real server with real VMs.

What is looked at is in `web/browser`; with `VMPOOL_PICTURES=directory` the run leaves a picture of each page.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Site

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
NEEDED = ("make", "npm", "chromium")


def test_in_chromium(site: Site) -> None:
    if os.geteuid() != 0:
        pytest.skip(
            "what a browser shows does not depend on who runs the server: it is looked at in root's run"
        )
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")
    subprocess.run(["make", "-C", ROOT, "--no-print-directory", "web"], check=True, timeout=180)
    done = subprocess.run(
        ["npm", "run", "--silent", "browser"],
        cwd=ROOT / "web",
        env={**os.environ, "VMPOOL_URL": site.url, "VMPOOL_API_KEY": site.key, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=700,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
