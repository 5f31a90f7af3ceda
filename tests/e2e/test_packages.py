"""`vm install` and `vm create --package` as the page has them, and the SDK."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.conftest import VM, Site
from tests.package_index import package_index
from vmpool import Client

PAGE = Path(__file__).parents[2] / "docs" / "packages.md"


@pytest.fixture
def stocked(fresh: Site) -> Iterator[Site]:
    """A site whose server gets packages from a registry of the test's."""
    with package_index() as index:
        index.add_wheel("requests", "2.31.0")
        index.add_wheel("attrs", "23.1.0")
        index.add_npm("lodash", "4.17.21")
        own = {"PYPI": f"{index.url}/simple", "NPM": f"{index.url}/npm"}
        named = {f"VMPOOL_PACKAGES__{name}": url for name, url in own.items()}
        yield replace(fresh, env={**fresh.env, **named})


@pytest.mark.timeout(120)
def test_the_commands_of_the_page_work(stocked: Site, tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        env={**stocked.env, "PATH": f"{VM.parent}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "Successfully installed requests-2.31.0",
        "requests 2.31.0\n",
        "both are here\n",
        "lodash 4.17.21\n",
    ):
        assert words in done.stdout, done.stdout


@pytest.mark.timeout(120)
def test_what_cannot_be_installed_is_said_with_the_package_managers_own_words(stocked: Site) -> None:
    stocked.done("create", "box", "python")
    failed = stocked.vm("install", "box", "absent")
    assert failed.returncode == 1
    assert "No matching distribution found for absent" in failed.stderr
    refused = stocked.vm("install", "box", "--", "--index-url=http://example.org/")
    assert refused.returncode == 125
    assert "write one like requests" in refused.stderr
    none = stocked.vm("create", "other", "python", "--package", "absent")
    assert none.returncode == 125
    assert "could not be installed" in none.stderr
    with Client(stocked.url, stocked.key) as client:
        assert [vm.name for vm in client.list_vms()] == ["box"]
        written: list[str] = []
        done = client.install("box", ["attrs"], on_stdout=written.append)
        assert done.exit_code == 0
        assert "Successfully installed attrs-23.1.0" in "".join(written)
        assert client.get_vm("box").install("requests<2").exit_code == 1
