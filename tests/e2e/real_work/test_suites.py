"""Well-known libraries as released: installed in VMs from source, their own test suites run in shards."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.pools import Pool
from tests.e2e.real_work.supplies import BACKENDS, Supplies, supplies

VMS = 2
PYTEST = ("venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
MEMORY = 1024
"""MB: the suite of packaging takes some 600."""


@dataclass(frozen=True)
class Suite:
    """A library's tests.  passing: so many pass on this project's machines without any VM.

    needs: what its authors say its tests need.  without: tests, files and directories that they leave out as
    well, or that fail with this Python anywhere.
    """

    name: str
    version: str
    passing: int
    needs: str = "pytest"
    without: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


SUITES = (
    Suite(
        "attrs",
        "26.1.0",
        1376,
        "cloudpickle hypothesis pympler pytest",
        # The first fails with Python 3.11.2 anywhere; the second is a file that its conftest leaves to 3.14.
        ("tests/test_converters.py::TestPipe::test_wrapped_annotation", "tests/test_forward_references.py"),
    ),
    # One of its files uses a module that another one imports: each file is by itself here.
    Suite("click", "8.5.1", 2434, options=("-p", "click._termui_impl")),
    Suite("jinja2", "3.1.6", 909, "pytest trio"),
    Suite("more-itertools", "11.2.1", 765),
    Suite("packaging", "26.4", 64204, "coverage hypothesis pip pretend pytest tomli-w", ("tests/property/",)),
    Suite("tomlkit", "0.15.2", 1203, "pytest pyyaml"),
    Suite(
        "werkzeug", "3.1.9", 979, "cffi cryptography ephemeral-port-reserve pytest pytest-timeout watchdog"
    ),
)


@pytest.fixture(scope="module")
def fetched(pool_server: Pool) -> Supplies:
    """For the Python that the VMs have."""
    with pool_server.client.create_vm("asked", "python") as vm:
        version = vm.execute("import sys; print('%d.%d' % sys.version_info[:2])").output
    assert version is not None
    return supplies(tuple(f"{suite.name}=={suite.version}" for suite in SUITES), version.strip())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_library_passes_its_own_tests(pool: Pool, fetched: Supplies, suite: Suite, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(fetched.project(suite.name), project)
    shutil.copytree(fetched.wheels, project / "wheels")
    found = sorted(str(path.relative_to(project)) for path in project.glob("tests/**/test_*.py"))
    files = [file for file in found if not file.startswith(suite.without)]
    install = "venv/bin/pip install --quiet --no-index --find-links wheels --no-build-isolation"
    tools = f"{suite.needs} {' '.join(BACKENDS)}"
    results = pool.client.jobs.shard(
        [*PYTEST, *suite.options, *_but(suite.without), "{}"],
        files,
        vms=VMS,
        project=project,
        setup=f"python3 -m venv venv && {install} {tools} && {install} .",
        timeout=300,
        memory_limit=MEMORY,
    )
    wrong = {
        result.job.name: result.problem
        or (result.execution and f"{result.execution.output}{result.execution.error}")
        for result in results
        if not result.ok
    }
    assert not wrong, "\n".join(f"{name}: {said}" for name, said in wrong.items())
    said = [result.execution.output or "" for result in results if result.execution is not None]
    assert sum(int(count) for text in said for count in re.findall(r"(\d+) passed", text)) >= suite.passing
    assert len({result.vm for result in results}) == min(VMS, len(files))


def _but(tests: tuple[str, ...]) -> list[str]:
    return [word for test in tests for word in ("--deselect", test)]
