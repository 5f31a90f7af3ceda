"""The extension in a real editor in a real browser, against a real server with real VMs.

What is looked at is in `extension/workbench`; with `VMPOOL_PICTURES=directory` the run leaves pictures.
How long the extension takes to be active is printed (`-s`), the median of `VMPOOL_ACTIVATIONS=15` times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import VM, Site

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[2]
NEEDED = ("make", "npm", "chromium")
HANDED_ON = ("VMPOOL_ACTIVATIONS", "VMPOOL_PICTURES")


def test_in_the_editor(site: Site) -> None:
    if os.geteuid() != 0:
        pytest.skip(
            "what an editor shows does not depend on who runs the server: it is looked at in root's run"
        )
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")
    subprocess.run(
        ["make", "-C", ROOT, "--no-print-directory", "extension", "workbench"], check=True, timeout=300
    )
    env = {**site.env, "VMPOOL_URL": site.url, "VMPOOL_API_KEY": site.key, "VMPOOL_COMMAND": str(VM)}
    env["PYTEST_FROM"] = str(Path(pytest.__file__).parents[1])  # the VMs of this test may reach no registry
    env |= {name: os.environ[name] for name in HANDED_ON if name in os.environ}
    done = subprocess.run(
        ["npm", "run", "--silent", "workbench"],
        cwd=ROOT / "extension",
        env=env,
        stdin=subprocess.DEVNULL,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, "what the tests said is above"
